-- What happened: counted, told to those who wait, told to those who watch.

-- Codes of what is counted, and of those of whose durations a record is kept.
local COUNTED = { granted = 1, contended = 2, refused = 3, timed_out = 4, cancelled = 5,
  deadlocks = 6, over_quota = 7, released = 8, expired = 9, forced = 10, lost = 11, fenced = 12,
  unguarded = 13, wait = 14, hold = 15 }

-- Counts one, or a duration.
function Tell.count(what, value)
  S.tally[#S.tally + 1] = COUNTED[what]
  S.tally[#S.tally + 1] = value or 1
end

-- Sends a message to a node: it gets a number, and is kept until the node says
-- that it has it. So one that gets lost is missed at the next beat. Numbers count
-- within an epoch: another server may have come to others.
function Tell.node(node, message)
  local number = Nodes.next_number(node)
  if not number then
    return
  end
  table.insert(message, 1, S.epoch)
  table.insert(message, 2, number)
  local messages = S.messages[node] or {}
  messages[#messages + 1] = cmsgpack.pack(message)
  S.messages[node] = messages
end

-- Sends the messages. That of the node that calls goes with the answer; those of
-- others are published.
function Tell.flush()
  for node, messages in pairs(S.messages) do
    if Nodes.get(node) then
      local inbox = key('i:') .. node
      do_all('RPUSH', inbox, messages)
      for _, text in ipairs(node ~= S.node and messages or {}) do
        call('PUBLISH', inbox, text)
      end
    end
  end
  return S.messages[S.node] or {}
end

-- Tells how a wait has ended, wherever somebody waits for it: those up to the last
-- asker there. Who asks later is answered; what is told now may have ended by then.
function Tell.waiters(request, kind, ...)
  for at, node in ipairs(request.nodes) do
    Tell.node(node, { kind, request.askers[at], ... })
  end
end

-- Tells the nodes that know of a grant that it has ended otherwise than they do
-- themselves: by another node, or by force.
function Tell.holders(request, how)
  if how == 'forced' or how == 'given-back' then
    for _, node in ipairs(request.nodes) do
      if node ~= S.node or how == 'forced' then
        Tell.node(node, { 'ended', request.id })
      end
    end
  end
end

-- What watchers are told of. Everything has its number, whether or not anybody
-- watches.
local EVENTS_KEPT = 16384

function Tell.watchers(request, kind)
  S.revision = S.revision + 1
  if S.watched < S.now then
    return
  end
  local event = cmsgpack.pack({ S.revision, S.now, kind, request.locks, request.mode,
    request.token, request.principal, request.owner, request.label })
  call('XADD', key('ev'), 'MAXLEN', '~', EVENTS_KEPT, string.format('%.0f-0', S.revision), 'e',
    event)
  call('PUBLISH', key('ev'), event)
end
