-- What runs out, and when: a sorted set by time. At the same moment first the
-- leases of nodes, then sessions, so that a lock that becomes free is never
-- handed to somebody who is over; then leases; then waits, so that a lock that
-- becomes free just in time is still handed over.
--
--   member: kind, order among its like, id

local NODE, SESSION, LEASE, WAIT = '0', '1', '2', '3'

-- How many locks one call frees at most of what ends in steps, but for those of
-- the last request.
local FREED_MAX = 256

-- How long after a step there is the next.
local PAUSE = 20000

function Deadlines.add(time, member)
  S.deadlines[member] = time
  if time < S.next_due then
    S.next_due = time
  end
end

function Deadlines.remove(member)
  S.deadlines[member] = false
end

-- Writes down what was added and removed.
function Deadlines.flush()
  local added, removed = {}, {}
  for member, time in pairs(S.deadlines) do
    if time then
      added[#added + 1] = time
      added[#added + 1] = member
    else
      removed[#removed + 1] = member
    end
  end
  do_all('ZADD', key('d'), added)
  do_all('ZREM', key('d'), removed)
  S.deadlines = {}
end

function Deadlines.of_request(request)
  local kind = request.token > 0 and LEASE or WAIT
  return kind .. sortable(request.arrival) .. request.id
end

-- Keeps a request from running out.
function Deadlines.suspend(request)
  if request.due then
    Deadlines.remove(Deadlines.of_request(request))
  end
end

-- Lets a request run out.
function Deadlines.resume(request)
  if request.due then
    Deadlines.add(request.due, Deadlines.of_request(request))
  end
end

-- A step has freed so many locks.
function Deadlines.note_freed(locks)
  S.freed = S.freed + locks
end

-- Whether this call has freed as many as one should.
function Deadlines.has_freed_enough()
  return S.freed >= FREED_MAX
end

-- Lets time pass: what has run out ends, in the order in which it did, and
-- each end serves whom it unblocks before the next. Nothing runs out while the
-- space is recovered.
function Deadlines.pass()
  if S.recovering > 0 then
    Recovery.pass()
    if S.recovering > 0 then
      return
    end
  end
  local left = OVERDUE_MAX
  while S.next_due <= S.now do
    Deadlines.flush()
    local first = call('ZRANGE', key('d'), 0, 0, 'WITHSCORES')
    S.next_due = tonumber(first[2]) or NEVER
    if S.next_due > S.now then
      return
    elseif left == 0 or Deadlines.has_freed_enough() then
      S.is_behind = true
      return
    end
    left = left - 1
    local member = first[1]
    local kind, id = string.sub(member, 1, 1), string.sub(member, 8)
    if kind == NODE then
      Nodes.run_out(id)
    elseif not (kind == SESSION and Sessions or Requests).get(id) then
      -- Without a record it would never be over.
      Deadlines.remove(member)
    elseif kind == SESSION then
      Sessions.finish(Sessions.get(id), 'session-ran-out')
    else
      Ends.run_out(Requests.get(id))
    end
  end
end
