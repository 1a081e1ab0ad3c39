"""Makes the wheel for pip (PEP 517) with nothing but Python, so that the folder can be installed where there is no network."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from typing import Dict, List, Optional

NAME, VERSION = "supervise", "0.1.0"
INFO = f"{NAME}-{VERSION}.dist-info"
WHEEL = f"{NAME}-{VERSION}-py3-none-any.whl"
HERE = os.path.dirname(os.path.abspath(__file__))


def _read(*names: str) -> bytes:
    with open(os.path.join(HERE, *names), "rb") as f:
        return f.read()


def _metadata() -> Dict[str, bytes]:
    fields = (f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\nRequires-Python: >=3.9\nLicense: Apache-2.0\n"
              "Summary: Snapshots of the Python program that runs, from inside, with supervise\n"
              "Description-Content-Type: text/markdown\n\n")
    return {
        f"{INFO}/METADATA": fields.encode() + _read("README.md"),
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: supervise\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }


def _record(files: Dict[str, bytes]) -> bytes:
    """The list of a wheel's files, with their checksums."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{INFO}/RECORD,,\n"]).encode()


def _pack(directory: str, files: Dict[str, bytes]) -> str:
    with zipfile.ZipFile(os.path.join(directory, WHEEL), "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in [*files.items(), (f"{INFO}/RECORD", _record(files))]:
            wheel.writestr(name, content)
    return WHEEL


def build_wheel(directory: str, config_settings: Optional[Dict[str, str]] = None, metadata_directory: Optional[str] = None) -> str:
    sources: List[str] = sorted(name for name in os.listdir(os.path.join(HERE, NAME)) if name.endswith((".py", ".typed")))
    return _pack(directory, {**{f"{NAME}/{name}": _read(NAME, name) for name in sources}, **_metadata()})


def build_editable(directory: str, config_settings: Optional[Dict[str, str]] = None, metadata_directory: Optional[str] = None) -> str:
    """pip install -e: a path to this folder instead of a copy (PEP 660)."""
    return _pack(directory, {f"{NAME}.pth": HERE.encode() + b"\n", **_metadata()})
