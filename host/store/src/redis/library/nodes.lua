-- Nodes: each has a lease, which its beats renew. When it has run out, the
-- node's transactions have ended, nobody waits there any more, and the sessions
-- attached there are detached.
--
--   n    node -> until, how many messages it was sent, when it was heard of last,
--        and before which of its connections what it asks comes too late

local function packed(it)
  return cmsgpack.pack(it.due, it.number, it.heard, it.connection)
end

function Nodes.get(node)
  local record = S.nodes[node]
  if record == nil then
    local text = call('HGET', key('n'), node)
    if text then
      local due, number, heard, connection = cmsgpack.unpack(text)
      record = { due = due, number = number, heard = heard, connection = connection }
    end
    S.nodes[node] = record or false
  end
  return record or nil
end

local function set(node, record)
  record.is_changed = true
  S.nodes[node] = record
end

function Nodes.flush()
  write_records('n', S.nodes, packed, {})
end

local function deadline(node)
  return NODE .. sortable(0) .. node
end

-- The node that calls lasts until then.
local function lasts(record, due)
  Deadlines.remove(deadline(S.node))
  record.due, record.heard = due, S.now
  set(S.node, record)
  Deadlines.add(due, deadline(S.node))
end

-- Whether a node lives. Nothing may hang on one that does not.
function Nodes.lives(node)
  local record = Nodes.get(node)
  return record ~= nil and record.due > S.now
end

-- The node that calls is there, which is written down every so often.
local HEARD_EVERY = 250000

function Nodes.note_heard()
  local record = Nodes.get(S.node)
  if record and record.heard + HEARD_EVERY <= S.now then
    record.heard = S.now
    set(S.node, record)
  end
end

-- The node has given up what it asked over earlier connections and was not
-- answered: it may still be on its way.
function Nodes.gives_up_earlier()
  local record = Nodes.get(S.node)
  if record and record.connection < S.connection then
    record.connection = S.connection
    set(S.node, record)
  end
end

-- Whether the node has given up what it asks here.
function Nodes.has_given_up()
  local record = Nodes.get(S.node)
  return record ~= nil and S.connection < record.connection
end

-- The number of the next message to a node, if it lives.
function Nodes.next_number(node)
  local record = Nodes.get(node)
  if not record then
    return nil
  end
  record.number = record.number + 1
  set(node, record)
  return record.number
end

function Nodes.wait_begins(request)
  for _, node in ipairs(request.nodes) do
    call('ZADD', key('w:') .. node, request.arrival, request.id)
  end
end

function Nodes.wait_ends(request)
  for _, node in ipairs(request.nodes) do
    call('ZREM', key('w:') .. node, request.id)
  end
end

-- Which of the nodes where a request was asked is that, unless everybody has left
-- there.
local function place_of(request, node)
  for at, other in ipairs(request.nodes) do
    if other == node then
      return at
    end
  end
end

-- Whether a request was asked at a node, and not everybody has left there.
function Nodes.is_asked(request, node)
  return place_of(request, node) ~= nil
end

-- Somebody asks the same, perhaps at another node: the asker of that number
-- there. Whether it is another.
function Nodes.asks_too(request, node, asker)
  local at = place_of(request, node)
  if not at then
    table.insert(request.nodes, node)
    table.insert(request.askers, asker)
    Requests.changed(request)
  elseif asker > request.askers[at] then
    request.askers[at] = asker
    Requests.changed(request)
  end
  return not at
end

-- Whether somebody asked at a node after the asker of that number.
function Nodes.is_asked_after(request, node, asker)
  local at = place_of(request, node)
  return at ~= nil and request.askers[at] > asker
end

-- Nobody waits for an answer at a node any more. Whether nobody does anywhere.
function Nodes.wait_leaves(request, node)
  local at = place_of(request, node)
  if at then
    table.remove(request.nodes, at)
    table.remove(request.askers, at)
    Requests.changed(request)
  end
  call('ZREM', key('w:') .. node, request.id)
  return #request.nodes == 0
end

-- Renews a node's lease; it never revives. It has the messages of an epoch up to
-- `acknowledged`.
function Nodes.beat(lease, epoch, acknowledged)
  local record = Nodes.get(S.node)
  if not record or record.due <= S.now then
    return { 'gone' }
  end
  lasts(record, math.max(record.due, S.now + lease))
  -- Numbers of an earlier epoch were given to others.
  if epoch == S.epoch then
    local kept = call('LLEN', key('i:') .. S.node)
    local needless = kept - (record.number - acknowledged)
    if needless > 0 then
      call('LTRIM', key('i:') .. S.node, needless, -1)
    end
  end
  return { 'beaten', record.number, S.is_behind }
end

function Nodes.join(lease)
  if Nodes.get(S.node) then
    return { 'known' }
  end
  local due = S.now + lease
  set(S.node, { due = due, number = 0, heard = S.now, connection = 0 })
  Deadlines.add(due, deadline(S.node))
  return { 'joined' }
end

-- A node is still there after the server was replaced. If it `begins` to say what
-- it has, it has no need of the messages it was sent before, the last of which is
-- answered.
function Nodes.rejoin(lease, begins)
  local record = Nodes.get(S.node) or { due = 0, number = 0, heard = 0, connection = 0 }
  if begins then
    call('DEL', key('i:') .. S.node)
  end
  lasts(record, math.max(record.due, S.now + lease))
  return { 'rejoined', record.number }
end

-- A node ends of its own accord: its lease is over, and what hangs on it ends
-- with the next calls.
function Nodes.leave()
  local record = Nodes.get(S.node)
  if record then
    lasts(record, S.now)
    Deadlines.pass()
  end
  return { 'left', Nodes.get(S.node) ~= nil }
end

-- What a node still has, if anything: its transactions' requests, then the waits
-- of others there, then its sessions. So many at most.
local CHUNK = 64

local function left_at(node)
  return call('ZRANGE', key('t:') .. node, 0, CHUNK - 1),
    call('ZRANGE', key('w:') .. node, 0, CHUNK - 1), call('SRANDMEMBER', key('a:') .. node, CHUNK)
end

-- A node's lease is over. What it has ends in steps: a call takes one.
function Nodes.run_out(node)
  local record = Nodes.get(node)
  Deadlines.remove(deadline(node))
  if not record then
    return
  end
  local held, waits, sessions = left_at(node)
  if #held + #waits + #sessions == 0 then
    call('HDEL', key('n'), node)
    S.nodes[node] = false
    call('DEL', key('i:') .. node)
    return
  end
  local woken = Ends.nobody()
  Ends.members(key('t:') .. node, held, 'session-ran-out', woken)
  -- What has no record is struck, or this would never be over.
  for _, id in ipairs(waits) do
    local request = Requests.get(id)
    if not request or Requests.is_held(request) then
      call('ZREM', key('w:') .. node, id)
    elseif Nodes.wait_leaves(request, node) then
      Ends.finish(request, 'abandoned', woken)
    end
  end
  for _, id in ipairs(sessions) do
    local session = Sessions.get(id)
    if session and session.node == node then
      Sessions.detach(session)
    else
      call('SREM', key('a:') .. node, id)
    end
  end
  Ends.hand_over(woken)
  -- The rest is for later calls: nobody is to wait for all of it. Whoever beats
  -- is told, and comes back for it.
  Deadlines.add(S.now + PAUSE, deadline(node))
  S.is_behind = true
end
