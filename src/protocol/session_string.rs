//! Session strings of other libraries: Telethon's `StringSession` and Pyrogram's.
