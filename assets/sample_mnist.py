#!/usr/bin/env python3
"""Cut the first 1000 MNIST test images and labels out of the full test set.

    python3 sample_mnist.py MNIST_FOLDER OUT_FOLDER
"""

import argparse
import gzip
import hashlib
import pathlib

COUNT = 1000


def cut(raw, item):
    header = 4 + 4 * raw[3]
    assert int.from_bytes(raw[4:8], "big") >= COUNT
    body = raw[header : header + COUNT * item]
    assert len(body) == COUNT * item
    return raw[:4] + COUNT.to_bytes(4, "big") + raw[8:header] + body


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist_folder", type=pathlib.Path)
    parser.add_argument("out_folder", type=pathlib.Path)
    args = parser.parse_args()
    for source, target, item in [
        ("t10k-images-idx3-ubyte.gz", "mnist-test-1000-images.idx3-ubyte.gz", 28 * 28),
        ("t10k-labels-idx1-ubyte.gz", "mnist-test-1000-labels.idx1-ubyte.gz", 1),
    ]:
        raw = gzip.decompress((args.mnist_folder / source).read_bytes())
        data = gzip.compress(cut(raw, item), compresslevel=9, mtime=0)
        (args.out_folder / target).write_bytes(data)
        print(f"{target}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
