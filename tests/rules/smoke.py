"""Prove an installed unimq, in an environment that does not have the sources: run by `make package`."""

import importlib
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import unimq
from unimq import registry

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("unimq", "unimq_activemq", "unimq_memcacheq", "unimq_memory", "unimq_sqlite")


def main() -> None:
    """Fail unless what was installed is whole and works."""
    for name in PACKAGES:
        home = Path(importlib.import_module(name).__file__ or "").parent
        assert Path(sys.prefix) in home.parents, f"{name} comes from {home}, not from the installed wheel"
        assert (home / "py.typed").exists(), f"{name} has no py.typed"
    metadata = importlib.metadata.metadata("unimq")
    assert metadata["License-Expression"] == "MIT"
    assert "What each backend can do" in (metadata.get_payload() or "")
    assert importlib.metadata.version("unimq") == unimq.__version__
    assert set(registry.schemes()) >= {"activemq", "memory", "sqlite"}
    with tempfile.TemporaryDirectory() as directory:
        for url in ("memory://smoke/jobs", f"sqlite:///{directory}/smoke.db?queue=jobs"):
            with unimq.Queue(url) as queue:
                queue.put({"number": 1})
                with queue.get(timeout=5) as message:
                    assert message.body == {"number": 1}
        example = str(ROOT / "docs" / "examples" / "wordcount.py")
        subprocess.run([sys.executable, "-I", example, str(ROOT / "README.md")], check=True, timeout=60)
    print(f"unimq {unimq.__version__} works from {sys.prefix}")


if __name__ == "__main__":
    main()
