"""HTTP/1.1 as bytes, without I/O: heads and chunks, both directions.

Own code, because it costs a third of a parser with callbacks; held to llhttp by differential
fuzzing (`tests/router/wire/test_differential.py`): what it accepts, llhttp accepts, with the same
meaning. It is the stricter of the two: no bare LF, no folded lines, no space before a colon, no
control characters, no duplicate of a header that frames a message.
"""
