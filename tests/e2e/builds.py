# SPDX-License-Identifier: GPL-2.0-only
"""Other builds of the product, in a tree of their own, for tests of upgrades."""
import os
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build_with(directory, path, pattern, replacement):
    """The path of a program built in @directory, where in one place of @path the text is another."""
    shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(".git", "docs", "__pycache__"))
    path = os.path.join(directory, path)
    with open(path, encoding="utf-8") as file:
        text, changes = re.subn(pattern, replacement, file.read())
    if changes != 1:
        raise AssertionError(f"{path}: `{pattern}` is there {changes} times")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    subprocess.run(["make", "-s", "-C", directory, "build/xdp-canary"], check=True,
                   capture_output=True)
    return os.path.join(directory, "build", "xdp-canary")


def another_build(directory):
    """On the same maps; one instruction of the program is another."""
    return build_with(directory, "bpf/too_big.h", r"(#define ANSWERS_PER_TICK\s+)4\b", r"\g<1>5")


def layout_version():
    with open(os.path.join(ROOT, "headers", "abi.h"), encoding="utf-8") as file:
        return int(re.search(r"#define ABI_VERSION (\d+)", file.read())[1])


def build_of_layout(directory, version):
    return build_with(directory, "headers/abi.h", r"(#define ABI_VERSION) \d+", rf"\g<1> {version}")
