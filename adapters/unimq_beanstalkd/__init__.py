"""The driver of `beanstalkd://`: queues are the tubes of a beanstalkd.

URL
    `beanstalkd://host/mail` or `beanstalkd://host:11300/mail`; several servers as `beanstalkd://one,two/mail`; a socket
    file as `beanstalkd+unix:///run/beanstalkd.sock?queue=mail`. There are no users, no TLS and no options of its own.

Delivery
    At least once, in the order of priority and put. The put fixes the lease, in whole seconds (the server's TTR):
    `?lease=` matters where messages are put, and `extend` begins it again. A message whose consumer died is delivered
    again at once, at its old place, and so are a nacked one and one whose lease ended. The deliveries are counted by
    the server, crashes included. beanstalkd 1.12 forgets about half of the leases that end while their consumer's
    connection is silent, until that connection says something or ends; so unimq says something when a lease ended. It
    cannot for a process that is frozen or a host that has vanished: what those hold comes back with their connection.
    The server cannot take back a count: a message that was given back because its consumer was interrupted has been
    delivered once more, and with `max_deliveries` may go to the dead letters for that.
    What is stored survives a restart of the server only where it keeps a log (`beanstalkd -b`), and a power loss only
    with `-f0`.

Limits
    A body has at most what `beanstalkd -z` says, 65,535 bytes by default, headers included where there are some.
    A queue name has letters, digits and `-+/;.$_()`, at most 200, and no leading `-`. Times are whole seconds, rounded
    up. What another connection holds cannot be deleted. A wait that ends below a second polls every 20 ms.

Escape hatch
    A delivered message's `native` is a `greenstalk.Job`; `greenstalk.Client((host, 11300), encoding=None)` speaks with
    the same tubes.
"""

from unimq_beanstalkd.driver import BeanstalkdDriver, driver

__all__ = ["BeanstalkdDriver", "driver"]
