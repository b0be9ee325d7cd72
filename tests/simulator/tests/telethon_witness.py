"""An unrelated client's view of the simulator: Telethon, as published.

Usage: telethon_witness.py PLAN.json, a file with
{"host", "port", "session_string", "friend_session_string", "friend", "chat_id", "public_key"}.
Every step that does not come out as it must ends the program with a traceback.
"""

import asyncio
import json
import sys

from telethon import TelegramClient, errors, events, functions, types
from telethon.crypto import rsa
from telethon.network import (
    ConnectionTcpAbridged,
    ConnectionTcpFull,
    ConnectionTcpIntermediate,
)
from telethon.sessions import MemorySession, StringSession

DEADLINE = 20


def client(session, connection=ConnectionTcpFull):
    return TelegramClient(
        session, 1, "0" * 32, connection=connection, connection_retries=0, auto_reconnect=False
    )


async def uses_an_issued_session(plan, connection):
    me = client(StringSession(plan["session_string"]), connection)
    friend = client(StringSession(plan["friend_session_string"]), connection)
    await me.connect()
    await friend.connect()
    self_user = await me.get_me()
    assert self_user.is_self and self_user.phone, self_user

    chat = await me.get_entity(plan["chat_id"]) if await me.get_dialogs() else None
    assert isinstance(chat, types.Channel) and chat.megagroup, chat

    live = asyncio.get_running_loop().create_future()

    @friend.on(events.NewMessage(incoming=True))
    async def arrived(event):
        if not live.done():
            live.set_result(event.message)

    # An update stream starts with the first call.
    await friend.get_me()
    text = f"hello over {connection.__name__} " + "x" * 3000
    sent = await me.send_message(chat, text)
    message = await asyncio.wait_for(live, DEADLINE)
    assert (message.id, message.message) == (sent.id, text), message
    assert message.sender_id == self_user.id, message

    history = [m.id async for m in friend.iter_messages(plan["chat_id"], limit=50)]
    assert history[0] == sent.id and history == sorted(history, reverse=True), history

    named = await me.get_entity(plan["friend"])
    private = await me.send_message(named, f"hello yourself, over {connection.__name__}")
    assert private.out and private.peer_id.user_id == named.id, private
    await me.disconnect()
    await friend.disconnect()


async def formats_and_pages(plan):
    me = client(StringSession(plan["session_string"]))
    await me.connect()
    await me.get_dialogs()
    chat = await me.get_entity(plan["chat_id"])
    first = await me.send_message(chat, "**bold** number 0")
    assert isinstance(first.entities[0], types.MessageEntityBold), first
    for number in range(1, 120):
        await me.send_message(chat, f"number {number}")
    forward = [m.message async for m in me.iter_messages(chat, reverse=True, min_id=first.id)]
    assert forward == [f"number {n}" for n in range(1, 120)], forward
    [found] = await me.get_messages(chat, ids=[first.id])
    assert found.message == "bold number 0", found
    quiet = await me.send_message(chat, "`quiet` reply", reply_to=first.id, silent=True)
    [found] = await me.get_messages(chat, ids=[quiet.id])
    assert found.silent and found.reply_to.reply_to_msg_id == first.id, found
    assert isinstance(found.entities[0], types.MessageEntityCode), found
    again = functions.messages.SendMessageRequest(chat, "once", random_id=77)
    once, twice = await me(again), await me(again)
    assert once.updates[0].id == twice.updates[0].id, (once, twice)
    assert (twice.updates[1].message.message, twice.updates[1].pts_count) == ("once", 0), twice
    everyone = await me.get_participants(chat)
    assert len(everyone) == 2, everyone
    try:
        await me(functions.contacts.ResolveUsernameRequest("nobody_has_this"))
        raise AssertionError("an unknown username was resolved")
    except errors.UsernameNotOccupiedError:
        pass
    await me.disconnect()


async def exchanges_a_fresh_key(plan):
    with open(plan["public_key"], encoding="ascii") as file:
        rsa.add_key(file.read(), old=False)
    stranger = client(MemorySession())
    stranger.session.set_dc(2, plan["host"], plan["port"])
    await stranger.connect()
    config = await stranger(functions.help.GetConfigRequest())
    assert [option.id for option in config.dc_options] == [1, 2, 3, 4, 5], config
    assert all(option.port == plan["port"] and option.static for option in config.dc_options)
    assert len(stranger.session.auth_key.key) == 256
    try:
        await stranger(functions.users.GetUsersRequest([types.InputUserSelf()]))
        raise AssertionError("a stranger was served")
    except errors.AuthKeyUnregisteredError:
        pass
    await stranger.disconnect()


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    for connection in (ConnectionTcpFull, ConnectionTcpAbridged, ConnectionTcpIntermediate):
        await uses_an_issued_session(plan, connection)
    await formats_and_pages(plan)
    await exchanges_a_fresh_key(plan)
    print("witnessed")


asyncio.run(asyncio.wait_for(main(), 120))
