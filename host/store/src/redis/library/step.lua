-- One call of a function: what it has read, what it has changed, what time it
-- is.
--
-- A call reads what it needs into tables of Lua, does to them what the state
-- machine in `core.rs` does, and writes back at its end what has changed. So a
-- record is read and written at most once in a call, however many operations it
-- brings, and all that is written of one kind by one command. Queues and groups
-- are sorted sets and changed where they are: nothing that is done to them can
-- fail, because nobody else writes to our keys.
--
-- Keys, all in the slot of the space:
--
--   m            what there is one of: see META
--   l            lock name -> who holds it, how many wait (locks.lua)
--   h:NAME       its holders by token, if there are several
--   qr: qw: qp:  NAME: who waits, by arrival: readers, writers, for permits
--   qe:NAME      those of them that lead to other queues (deadlock.lua)
--   r            grant's id -> request (requests.lua)
--   s            session's id -> session (sessions.lua)
--   g:...        the requests of a session or a named owner (groups.lua)
--   t:NODE       the requests of a node's transactions
--   w:NODE       the requests that wait at a node
--   a:NODE       the sessions attached at a node
--   n            node -> its lease and how many messages it was sent (nodes.lua)
--   i:NODE       those messages, until it says that it has them
--   pl pw ps     principal -> locks, waits and sessions it has (requests.lua)
--   d            what runs out, by time (deadlines.lua)
--   e eo eu:     ids that have ended (ended.lua)
--   x xl         searches for deadlocks that are not finished (deadlock.lua)
--   v: k: vn: c  values, keys, versions and changes (state.lua)
--   o oo         outcomes of commits (state.lua)
--   ev           events for who watches (tell.lua)
--   id ef y      what recovery needs (recovery.lua)

-- The epoch, then numbers: wall clock and store time when it was read last,
-- the last token, arrival, revision and commit, a time before which nothing
-- runs out, until when somebody watches, how many grants are held, wait, and
-- sessions are open, when a search for deadlocks goes on (0: there is none), up
-- to when commits were forgotten for lack of room (-1: none), and until when the
-- space is recovered (0: it is not).
local META = '<c16dddddddddddddd'

-- A time that never comes.
local NEVER = 9007199254740991

-- How many things that have run out one call ends. The next goes on.
local OVERDUE_MAX = 128

local S -- the step that is under way

local Requests, Locks, Queues, Groups, Deadlines = {}, {}, {}, {}, {}
local Ended, Accounts, Sessions, Nodes, Tell = {}, {}, {}, {}, {}
local Acquire, Ends, Deadlock, State, Look, Recovery = {}, {}, {}, {}, {}, {}

-- The server's commands, which are not there yet when this is loaded.
local call

-- The names of a space's keys, as far as they do not depend on anything else:
-- mostly those of the space that was asked the last time.
local known_tag, known_keys

local function key(name)
  local known = known_keys[name]
  if not known then
    known = known_tag .. name
    known_keys[name] = known
  end
  return known
end

local function go_by(tag)
  call = redis.call
  if tag ~= known_tag then
    known_tag, known_keys = tag, {}
  end
end

-- How many words one command is given at most.
local WORDS_MAX = 1000

-- Has one command, or a few, do to a key what there is in a list. Answers what
-- the last answered.
local function do_all(command, at, list)
  local answer
  for from = 1, #list, WORDS_MAX do
    answer = call(command, at, unpack(list, from, math.min(#list, from + WORDS_MAX - 1)))
  end
  return answer
end

-- Writes back those records of a hash that have changed, and strikes those that
-- have gone.
local function write_records(name, records, packed, gone)
  local written, struck = {}, {}
  for id, record in pairs(records) do
    if record and record.is_changed then
      written[#written + 1] = id
      written[#written + 1] = packed(record)
    elseif not record and gone[id] then
      struck[#struck + 1] = id
    end
  end
  do_all('HSET', key(name), written)
  do_all('HDEL', key(name), struck)
end

-- Six bytes that compare as the number does.
local function sortable(number)
  return struct.pack('>I6', number)
end

-- How much the store takes, which is mostly what it was the last time.
local limits_text, limits

local function limits_of(text)
  if text ~= limits_text then
    local values = { cmsgpack.unpack(text) }
    limits = { holders_per_lock = values[1], waiters_per_lock = values[2],
      locks_per_principal = values[3], waiters_per_principal = values[4],
      sessions_per_principal = values[5], grants_per_session = values[6],
      cancels_per_principal = values[7], ended = values[8], records = values[9],
      steps = values[10] }
    limits_text = text
  end
  return limits
end

-- Begins a call. The arguments: the epoch the node knows, the node, the number of
-- its connection, how much the store takes, the time if it is handed in, and what
-- is to be done.
local function begin(keys, args)
  go_by(string.sub(keys[1], 1, -2))
  local text = call('GET', keys[1])
  if not text then
    return false
  end
  local epoch, wall, now, token, arrival, revision, commit, next_due, watched, held, waiting, open,
    search_due, swept, recovering = struct.unpack(META, text)
  if epoch ~= args[1] then
    return false
  end
  local wall_now = wall_clock(args[5])
  S = {
    epoch = epoch, wall = wall_now, now = slew(wall_now, wall, now), token = token,
    arrival = arrival, revision = revision, commit = commit, next_due = next_due,
    watched = watched, held = held, waiting = waiting, open = open, search_due = search_due,
    swept = swept, recovering = recovering, is_behind = false,
    freed = 0, abandoned = 0,
    node = args[2], connection = tonumber(args[3]),
    limits = limits_of(args[4]),
    requests = {}, requests_gone = {},
    locks = {},
    sessions = {}, sessions_gone = {},
    nodes = {},
    deadlines = {},
    accounts = { pl = {}, pw = {}, ps = {} },
    ended = {}, ended_in_order = {},
    tally = {},
    messages = {},
  }
  return true
end

-- Writes back what has changed. What the answer begins with: the time, the last
-- numbers, how many grants are held, wait, and sessions are open, what is to be
-- counted, and what the node that calls is told.
local function finish_step()
  Requests.flush()
  Locks.flush()
  Sessions.flush()
  Deadlines.flush()
  Accounts.flush()
  Ended.flush()
  local told = Tell.flush()
  Nodes.flush()
  call('SET', key('m'), struct.pack(META, S.epoch, S.wall, S.now, S.token, S.arrival,
    S.revision, S.commit, S.next_due, S.watched, S.held, S.waiting, S.open, S.search_due, S.swept,
    S.recovering))
  return cmsgpack.pack(S.now, S.token, S.revision, S.commit, S.held, S.waiting, S.open, S.tally,
    told)
end
