/* Memory on huge pages, where a system gives them if asked: to be included before any other header. */
#ifndef REGCORE_HUGE_PAGES_H
#define REGCORE_HUGE_PAGES_H

#if defined(__linux__)
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/mman.h>
#endif
#include <stddef.h>
#include <stdint.h>

enum { HUGE_PAGE = 2 << 20 };

/* Asks for huge pages in [p, p + bytes), of which nothing has been touched yet. */
static inline void ask_for_huge_pages(void *p, size_t bytes)
{
#if defined(__linux__)
    const uintptr_t first = ((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    const uintptr_t end = ((uintptr_t)p + bytes) / HUGE_PAGE * HUGE_PAGE;
    if (p && end > first) madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}

#endif
