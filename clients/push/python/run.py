"""The server library `pusher` of PyPI, unchanged, against a push server:
run.py '{"host", "port", "id", "key", "secret"}'. Says one line a case; what it publishes to
the channel "from-python" is heard by whoever runs it."""

import json
import sys
import traceback

import pusher

at = json.loads(sys.argv[1])


def client(secret):
    return pusher.Pusher(app_id=at["id"], key=at["key"], secret=secret, host=at["host"], port=at["port"], ssl=False)


server, other = client(at["secret"]), client("guess")


def refused(call):
    try:
        call()
    except pusher.errors.PusherForbidden:
        raise AssertionError("a wrong signature is unauthorized, not forbidden")
    except pusher.errors.PusherBadAuth:
        return
    raise AssertionError("a wrong signature was accepted")


def an_event():
    assert server.trigger("from-python", "created", {"text": "é\"\n"}) == {}


def an_event_to_several_channels():
    answer = server.trigger(["from-python", "presence-nobody"], "asked", {}, None)
    assert answer == {}, answer


def a_batch():
    batch = [{"channel": "from-python", "name": f"batch-{n}", "data": {"n": n}} for n in range(3)]
    assert server.trigger_batch(batch) == {}


def questions():
    channels = server.channels_info("from-", ["subscription_count"])["channels"]
    assert channels == {"from-python": {"subscription_count": 1}}, channels
    info = server.channel_info("from-python", ["subscription_count"])
    assert info == {"occupied": True, "subscription_count": 1}, info
    users = server.users_info("presence-python")["users"]
    assert users == [{"id": "mia"}], users


def wrong_signatures_are_refused():
    refused(lambda: other.trigger("from-python", "wrong", {}))
    refused(lambda: other.channels_info())


# `terminate_user_connections` is left out: it forgets the app in its path (3.3.4).
def an_event_to_a_user():
    assert server.send_to_user("nobody", "note", {}) == {}


failed = 0
for case in (an_event, an_event_to_several_channels, a_batch, questions, wrong_signatures_are_refused, an_event_to_a_user):
    name = "pusher (PyPI): " + case.__name__.replace("_", " ")
    try:
        case()
        print(f"ok {name}")
    except Exception:
        failed += 1
        print(f"not ok {name}: {traceback.format_exc(limit=-2)}")
sys.exit(1 if failed else 0)
