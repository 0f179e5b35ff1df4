/* The host is asked now and then whether to go on. */
#ifndef REGCORE_POLL_H
#define REGCORE_POLL_H

#include <time.h>

#include "include/regcore.h"

/* Whether the host wants to stop; it is not asked, and does not, within 20 ms of `polled`. */
static inline int asked_to_stop(const rc_control *control, struct timespec *polled)
{
    struct timespec now;
    if (!control->poll) return 0;
    timespec_get(&now, TIME_UTC);
    const double elapsed = (double)(now.tv_sec - polled->tv_sec) + 1e-9 * (double)(now.tv_nsec - polled->tv_nsec);
    if (elapsed < 0.02 && elapsed >= 0) return 0;
    *polled = now;
    return control->poll(control->poll_context);
}

#endif
