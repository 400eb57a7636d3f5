"""Real servers for the integration tests: started in containers, or as plain processes where there is no engine.

- `recipe`: how one server is started, and how it is known to be ready
- `servers`: a server that runs, with the ways to break it
- `run`: one run of the tests: which servers it has, who shares them, what it leaves behind
"""

from harness.recipe import IMAGES, Recipe, ask
from harness.run import MissingServer, Run
from harness.servers import Running

__all__ = ["IMAGES", "MissingServer", "Recipe", "Run", "Running", "ask"]
