"""What ``regcore COMMAND --help`` says besides its options."""

from __future__ import annotations

EXIT_CODES = """\
exit codes:
  0    done
  1    failed otherwise: an optional package is missing, the picture cannot be written, memory runs out
  2    the command line is wrong
  3    the data is: a file is missing, damaged or of the wrong form (the message names it)
  130  stopped with Ctrl-C; no file is left half-written
"""

DATA = """\
what DATA can be:
  nothing        scikit-learn's bundled digits (1797 images, no download)
  a folder       one sub-folder of images per class (JPEG, PNG, WebP, TIFF, ...):
                     photos/cats/1.jpg  photos/cats/2.jpg  photos/dogs/1.jpg  ...
                 or of texts (.txt, .md), which become tf-idf weights of their words
  name.csv       one row per sample, a header or none; --label names the label column,
                 --text a column of texts; words become one column per category
  name.parquet   the same, read by pyarrow: pip install "regcore[parquet]"
  name.npz       NumPy arrays X and y, and if you like the class names as classes;
                 or X_train, y_train, X_test, y_test: the parts are put together,
                 since every seed makes a split of its own;
                 or for sparse data X_data, X_indices, X_indptr, X_shape (also
                 X_train_data, ...) in place of X. Pickled objects are never read
  name.npy       the array X, its labels in y.npy beside X.npy or where --label says
  name.svm       svmlight/libsvm text (also .svmlight, .libsvm, .txt)

scaling: 8-bit numbers are divided by 255 (by their maximum if they do not use
the range), numbers within [-1, 1] stay as they are, others are standardised with
the mean and variance of the training part (in a search: of all samples), or if
sparse divided by the largest magnitude of their column. The line below the table
says what was done.

"""

COMPARE = """\
Does it matter how a linear classifier is regularised? Train one per penalty on
three quarters of your samples, score it on the rest, repeat that with other
splits (seeds), and print the accuracies side by side, and which differences are
more than chance:

  none        no penalty
  l1          keeps weights small and sets many to exactly zero
  l2          keeps weights small
  elasticnet  a mixture of both
"""

COMPARE_MORE = (
    DATA
    + """\
examples:
  regcore compare
      the digits, four penalties, five seeds
  regcore compare photos --save photos.png
      colour histograms of your own photos, and a picture of the table
  regcore compare photos --features pixels --size 24x24 --penalties none,l2
      their pixels instead
  regcore compare photos --power 0.5
      square roots of their histograms
  regcore compare flowers.csv --label species --alpha 0.001 --seeds 10
      a table of numbers, a strength of your own, more seeds
  regcore compare mails.csv --label folder --text body --drop date
      a column of texts
  regcore compare text.npz --loss hinge --json > result.json
      for another program

"""
)

TUNE = """\
Which penalty, how strong, and what accuracy to expect? Every candidate is trained
on all folds but one, in turn, and scored on the one left out; the best is trained
again on all samples and saved.

Where all values of a dense table are fractions between 0 and 1, as in histograms,
their square and fourth roots are tried, too (--powers), which often do more than
any penalty. The model remembers what was done.

The accuracy to expect of it is not the best of the scores, which is too high: the
choice itself is judged, by a bootstrap over the left-out predictions (Tsamardinos
et al., 2018), which also gives the interval at 95 %.
"""

TUNE_MORE = (
    DATA
    + """\
examples:
  regcore tune photos -o photos.model
      twelve strengths of three penalties in five folds, and a model
  regcore tune photos -o photos.model --cache ~/.cache/regcore
      keep the histograms for the next command
  regcore tune flowers.csv --label species -o flowers.model --holdout 0.25
      score the winner on a quarter that no fold has seen, too
  regcore tune photos --powers 1
      the histograms as they are, and nothing saved
  regcore tune genes.npz --penalties l1 --strengths 0.3,0.1,0.03 --folds 10 --json
      strengths of your own; nothing is saved without -o

"""
)

PREDICT = """\
Let a model that `regcore tune` saved predict new samples: a CSV with a line for
each, its predicted class and, of models trained with cross_entropy, the
probability of every class.
"""

PREDICT_MORE = """\
DATA is of the kind that the model was trained on: images, texts, a table with the
same columns, or numbers. It may be one image or text alone. Where it has labels
(a folder per class, the label column), the accuracy is told, too.

examples:
  regcore predict photos.model new_photos -o predictions.csv
  regcore predict photos.model holiday.jpg
      to standard output
  regcore predict flowers.model garden.csv --json

"""

REPORT = """\
The experiment as one page of HTML that needs nothing else: the data, `compare`'s
table, `tune`'s curves of accuracy over strength, the weights as pictures or as the
words and columns that count most, the confusion matrix, the worst mistakes, and
how to do it again. It reads well on a phone, in dark mode and on paper.
"""

REPORT_MORE = (
    DATA
    + """\
examples:
  regcore report photos -o photos.html
  regcore report flowers.csv --label species -o flowers.html --seeds 10
  regcore report mails.csv --label folder --text body -o mails.html --folds 3

"""
)

COMPLETION = """\
Print a script that completes commands, options and files in your shell.
"""

COMPLETION_MORE = """\
examples:
  regcore completion bash > ~/.local/share/bash-completion/completions/regcore
  regcore completion zsh > "${fpath[1]}/_regcore"
  eval "$(regcore completion bash)"
      for this shell alone

"""


BENCH = """\
How near the limit of this machine is a loss with its gradient, and how near are
NumPy, scikit-learn, PyTorch and JAX, where they are installed?

  limit = max( bytes of X / bandwidth, 4 N D C operations / peak )

X is read once, and N samples of D features take two matrix products with C
classes. Bandwidth and peak are measured between the turns of the same run, with
the threads and in the type of the computation. 1.00 would be perfect.
"""

BENCH_MORE = """\
how it is measured:
  regcore and the peers have turns (regcore, a peer, regcore, the next peer, ...),
  and the median of all calls counts. After a peer's turn there is a pause of
  0.3 s: the threads of a BLAS or of OpenMP spin for some time after their work,
  and would take a core from whoever comes next. Every answer is checked against
  the NumPy reference in float64 first; if one differs by more than rounding,
  there are no figures (exit code 1).
  Peers get X in the type of the computation, converted before the clock starts,
  where X is stored in a smaller one. Arrays that need more than half of the
  available memory are left out, and named. The whole table takes some ten
  minutes; other programs that run meanwhile spoil it.

examples:
  regcore bench --quick
      a look, in seconds: too small for figures to quote
  regcore bench --save roofline.png --json > bench.json
      everything, with a picture, for another program
  regcore bench --shapes 60000x784x10 --dtypes float32,uint8 --losses hinge
      one shape of your own; 1 class is the binary form
  regcore bench --isa all --peers none
      what every CPU level that this machine has reaches

"""
