"""Any driver served over one socket: the frames, what answers them, and a session that asks.

A transport moves single frames (bytes) between many clients and one holder, and knows nothing of what is in them. This
package knows nothing of transports: `Served` turns a client's frame into calls of a store's session and the answer into
a frame; `RemoteSession` is a session of the driver contract whose server is a `Served` at the other end of a `Wire`.
"""

from unimq.remote.served import Served
from unimq.remote.session import RemoteSession, Wire

__all__ = ["RemoteSession", "Served", "Wire"]
