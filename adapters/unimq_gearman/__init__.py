"""The driver of `gearman://`: queues are the functions of a gearmand, messages its background jobs.

URL
    `gearman://host/mail` or `gearman://host:4730/mail`; several servers as `gearman://one,two/mail`. `gearman+ssl://`
    needs a gearmand that speaks TLS, or a proxy that does so before it: Debian's gearmand accepts `--ssl` and speaks
    plain text, which is told at the connect. There are no users. The server does not tell whether it stores its jobs:
    `?stored=yes` says so for you, and then it is promised that what is confirmed survives its restart.

Delivery
    At least once, in the order of put within three levels of priority. A message is held by a connection: when that
    ends, with the consumer's process or by kill -9, the server gives it out again at once, behind its equals, and what
    was held together comes back in reverse. `?lease=` is kept by unimq in the consumer's process. The host of a
    consumer that vanishes without a word keeps what it held until gearmand notices, which takes `gearmand --keepalive`.
    With `gearmand --job-retries N` the server drops a message without a word when its consumers have died N times;
    nobody can see that, nor count it: only nacks are counted.
    A nacked message is a copy at the tail, stored before the original is ended as failed; a crash between the two
    makes two of it. A foreign message gets unimq's envelope by a nack, for its count.
    In memory (the default of gearmand) a restart loses everything. With `-q libsqlite3` each put and each settlement
    is a transaction of its own, and what was confirmed is there after kill -9.
    An acknowledgement waits for the server to say that it has seen it.
    `call` submits a foreground job, on a connection of its own: it is answered by whoever works on the function, and is
    never stored. When its caller gives up, and no other call of the session is on its way, that connection is closed,
    and the server forgets what nobody has begun. Whatever gives a foreground message back, a nack, a release or a lease
    that ends, tells its caller that it failed; the copy that is tried again answers nobody. A `Worker` asks the server
    whether anybody waits, and tries again in hand while somebody does: so the caller gets the reply of the last try. A
    foreign client that gives its jobs no unique id cannot be asked for. When the worker dies meanwhile the server gives
    the job to another one, which counts from the beginning, and the caller waits on.

Limits
    A body has at most 64 MiB, which is what was tried. A queue name has at most 250 bytes and no spaces or control
    characters. The server never forgets a function, so names should be few. A job that was made with
    `SUBMIT_JOB_EPOCH` wakes nobody when it is due: a waiting get looks every 5 s, and every 0.25 s with
    `?emulate=delay`.

Escape hatch
    Any client of Gearman works with the same functions: `gearman -f mail -b` puts, `gearman -w -f mail` takes. Without
    options a message travels as nothing but its body, and its id is the unique id of the job. A foreground job is a
    message like any other: `message.reply(...)`, or what a worker's handler returns, answers its client when it is
    acknowledged, nothing does where there is no reply, and a nack or a reject answers it with a failure.
    gearman3's own classes need a one-line patch on Python 3.9 and newer; `native` is `None`.
"""

from unimq_gearman.driver import GearmanDriver, driver

__all__ = ["GearmanDriver", "driver"]
