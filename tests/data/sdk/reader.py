"""Reads messages of Kafka with the CloudEvents SDK for Python, and prints how many it has read."""

import base64
import sys

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.v1.kafka import KafkaMessage as OlderMessage
from cloudevents.v1.kafka import from_binary as older_from_binary

headers, read = {}, 0
for line in open(sys.argv[1]):
    kind, *fields = line.rstrip("\n").split(" ")
    last = base64.b64decode(fields[-1])
    if kind == "header":
        headers[fields[0]] = last
        continue
    event = from_binary(KafkaMessage(headers, None, last), JSONFormat())
    assert event.get_id() and event.get_source() and event.get_type(), event
    older = older_from_binary(OlderMessage(headers, None, last))
    assert older["id"] and older["source"] and older["type"], older
    headers, read = {}, read + 1
print("read", read)
