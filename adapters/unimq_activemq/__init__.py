"""Queues of an Apache ActiveMQ broker, over STOMP 1.2.

URL
    `activemq://user:password@host:61613/jobs`, or `stomp://`, which is the same. The broker needs a STOMP connector,
    best `stomp://0.0.0.0:61613?transport.tcpNoDelay=true`: without that option each get costs 40 ms.
    `?persistent=false` lets the broker keep messages in memory, and lose them when it is killed. `activemq+ssl://` is
    for a connector `stomp+ssl://`; write its port, because the default is 61613 there too. The broker's certificate is
    verified; a client's own goes into `?tls_cert=`.

Delivery
    At least once. A put returns with the broker's receipt, after it has written the message to its disk; a batch is one
    transaction, stored whole or not at all. A message belongs to the connection that received it: when its consumer
    dies, it is delivered again at once, in front. A nack, a delayed one too, and a reject are one transaction that
    sends a copy and acknowledges the original; the copy goes to the tail. Nacks are counted, deliveries that ended with
    the consumer's death are not, unless `?count_crashes=true` says so. Messages come in the order of priority and put;
    what was given back unseen comes before the others, in its order, and so does what a dead consumer held, where that
    may be another one.
    What is taken together comes over one subscription with room for as many as were wanted, and nothing that nobody
    has asked for comes later. While a batch is settled, an exclusive consumer that gets nothing stops the queue for
    that moment. Of a batch that is settled in parts, the broker sends the rest once more, to its consumer alone. An
    iteration (`consume`) with a prefetch above 1 has a subscription that goes on, and gets a new message for each that
    is settled; when it ends, what nobody saw goes back to the front, in order and uncounted, also while others of it
    are still in hand.
    With `?count_crashes=true` a message whose consumers die reaches `max_deliveries`: what comes back unsettled is not
    handed over, but sent once more with a higher count, to the tail, in one transaction. That is its price in order;
    another is that all which a dead consumer held counts, whether it had looked at it or not, because the broker's flag
    does not tell. So with `max_deliveries` nothing is fetched ahead, no subscription goes on, and what nobody saw goes
    back as a copy, and a wait for several queues polls them in turn, twenty times a second. The broker forgets the flag
    when it is started again. Other programs that prefetch set it too.
    After kill -9 and a restart of the broker, all that was confirmed is there. Broker and client give signs of life
    every 10 s (`?heart_beat=`): a consumer that vanishes or freezes without a word loses its messages to others after
    two or three of these, and a get that waits notices a broker that stalls.

Limits
    The broker must be configured for what it silently ignores otherwise: `schedulerSupport="true"` for delays,
    `prioritizedMessages="true"` for priorities, the statistics plugin (with XStream and Jettison) for stats, purge and
    queues. A connect asks for the scheduler and the plugin, and what is missing is refused. Priorities cannot be asked
    for: `?prioritized=true` says that they hold. A delay is kept to half a second, never early. Expiry goes by the
    clocks of both hosts. A broker takes 100 MB of body and 1000 headers of 10 KiB by default. Names have no blanks and
    none of `, ? * >`. A peek shows what other consumers hold as well; stats and purge read the delayed messages of all
    queues. STOMP can neither remove a queue nor a message that waits. A queue that has exclusive consumers of others,
    or whose policy says `useConsumerPriority="false"`, may give the rest of a batch to those: settle batches whole.
    Queues that are not used stay until the broker collects them (`gcInactiveDestinations`), and thousands of them slow
    it down.

Escape hatch
    A delivered message's `native` is a `stomp.utils.Frame`, with the headers as they came. An application's header
    with a name that STOMP or ActiveMQ understands travels under `unimq-h.` and does nothing there. What other programs
    put into the queue is delivered with their headers, `type`, `correlation-id` and `reply-to` among them; what unimq
    puts is a JMS BytesMessage with the encoded body. Of a group (`JMSXGroupID`) that another program made, the next
    message comes when the one before is settled; STOMP does not tell which group it is.
"""

from unimq_activemq.driver import ActiveMQDriver, driver

__all__ = ["ActiveMQDriver", "driver"]
