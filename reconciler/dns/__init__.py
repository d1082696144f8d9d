"""The embedded DNS server at 127.0.0.11:53 of every sandbox on a user-defined network (docs/design/docker.md#names).

Pure: `wire` (bytes), `zones` (what is served), `view` (what one sandbox sees of it), `answer` (query bytes to reply bytes),
`upstream` (whom to ask else).
Around it: `server` is the process, `launch` starts it and talks to it on the engine's behalf.
"""
