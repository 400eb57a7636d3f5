"""The conformance suite, for authors of drivers, and a pytest plugin, for applications; `docs/testing.md` shows both.

```python
from unimq.testing import QueueConformance

class TestMine(QueueConformance):
    @pytest.fixture
    def url(self):
        return "mine://localhost"
```
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unimq.testing.faults import Server
    from unimq.testing.suite import QueueConformance

__all__ = ["QueueConformance", "Server"]


def __getattr__(name: str) -> Any:
    # Late, because the plugin of this package is loaded into every pytest run where unimq is installed.
    if name == "QueueConformance":
        from unimq.testing.suite import QueueConformance  # noqa: PLC0415

        return QueueConformance
    if name == "Server":
        from unimq.testing.faults import Server  # noqa: PLC0415

        return Server
    msg = f"module 'unimq.testing' has no attribute {name!r}"
    raise AttributeError(msg)
