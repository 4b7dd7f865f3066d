"""Large values in shared memory: written once by who has them, mapped by whoever needs them.

An encoded value is bytes, and its first byte says which form it has (`payload` lists them). Two are
of here: a *reference* to a segment of shared memory, and what stands in that, a *layout*: a pickle
and beside it the buffers that were left out of it.

**Whose a segment is.** It is a file without a name (memfd), so the kernel frees it with the last
descriptor and the last mapping, whatever ends the processes that had them: nothing can be left
behind, in /dev/shm or anywhere, and there is nothing to sweep. Python's resource tracker has never
heard of it. Who has encoded a value (`pool`) hands a descriptor to the coordinator (`handing_over`,
or in its own process by a call), and that one keeps it as long as the value is a stored result or
an argument of a task that has not ended (`keeping`). To everybody else it is known by a path,
`/proc/PID/fd/NUMBER` of the coordinator. Who has mapped it (`windows`) may look at it for as long
as he likes.

**Memory is used again.** To write to a new page, or to map one anew, costs more than to copy what
it holds. So the process that made a segment keeps it for a moment after its last use. Whether
anybody else still has it is told by a lock (`flock`), which belongs to the open file: the
descriptor that is handed over holds it shared, on its way through the socket too, and so does
everybody who looks at a mapping. Who can have it exclusively is alone with it.

**A reference that comes too late** (its attempt was cancelled, its result released) may find that
the number means another file by now, or the file another value. Each value has an identity, which
stands in its segment and in its reference, and is compared once the lock is held.

This is all of Linux. Elsewhere, or where it cannot be had, values stay in their bytes.
"""
