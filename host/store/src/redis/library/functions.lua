-- The functions of the library.
--
-- A call brings one operation, or several that are done one after the other, each
-- with what it needs. It lets time pass, does them, writes back what has changed,
-- and answers a list: what `finish_step` says, then what each operation answers,
-- all packed. The answer of an operation is a list that begins with a word.

local OPERATIONS = {}

local function perform(keys, args)
  if not begin(keys, args) then
    return redis.error_reply('RECOVERING the space is not as it was')
  end
  Deadlines.pass()
  local answers = { '' }
  for at = 6, #args, 2 do
    local operation = OPERATIONS[args[at]]
    answers[#answers + 1] = cmsgpack.pack(operation(cmsgpack.unpack(args[at + 1])))
  end
  answers[1] = finish_step()
  return answers
end

-- What gives back memory, or keeps what is held, is done without any to spare.
redis.register_function({
  function_name = LIBRARY .. '_take',
  callback = perform,
})

redis.register_function({
  function_name = LIBRARY .. '_give',
  callback = perform,
  flags = { 'allow-oom' },
})

-- Takes a space as it is found, or makes it.
redis.register_function({
  function_name = LIBRARY .. '_open',
  callback = function(keys, args)
    go_by(string.sub(keys[1], 1, -2))
    return Recovery.open(wall_clock(args[6]), args)
  end,
  flags = { 'allow-oom' },
})

-- What is not done while the space is recovered: then the answer says for how
-- long that will be.
local function when_recovered(run)
  return function(...)
    if S.recovering > 0 then
      return { 'recovering', math.max(S.recovering - S.now, 0) }
    end
    return run(...)
  end
end

OPERATIONS['acquire'] = when_recovered(Acquire.acquire)
OPERATIONS['claim'] = Ends.claim_one
OPERATIONS['cancel'] = Ends.cancel
OPERATIONS['abandon'] = Ends.abandon
OPERATIONS['renew'] = Ends.renew
OPERATIONS['release'] = Ends.release
OPERATIONS['force_release'] = Ends.force_release
OPERATIONS['end'] = function(life)
  Nodes.gives_up_earlier()
  return Ends.transaction(life)
end

OPERATIONS['open_session'] = Sessions.open
OPERATIONS['attach'] = Sessions.attach
OPERATIONS['beat'] = Sessions.beat
OPERATIONS['detach'] = Sessions.detach_from
OPERATIONS['close_session'] = Sessions.close

OPERATIONS['commit'] = when_recovered(State.commit)
OPERATIONS['resolve'] = State.resolve
OPERATIONS['validate'] = when_recovered(State.validate)
OPERATIONS['list'] = State.list
OPERATIONS['look'] = Look.at_all

-- A node comes, with a lease.
OPERATIONS['join'] = Nodes.join

-- A node goes.
OPERATIONS['leave'] = Nodes.leave

-- A node says what it had before the server was replaced.
OPERATIONS['rejoin'] = Nodes.rejoin
OPERATIONS['recover_session'] = Recovery.session
OPERATIONS['recover_grants'] = Recovery.grants

-- A node lives on: its lease is renewed, what it has acknowledged is forgotten,
-- and a search for deadlocks goes on. Somebody watches there until `watched`.
OPERATIONS['node_beat'] = function(lease, epoch, acknowledged, watched)
  S.watched = math.max(S.watched, watched)
  Deadlock.search_on()
  return Nodes.beat(lease, epoch, acknowledged)
end

-- Somebody begins to watch: answers the number of the latest event.
OPERATIONS['watch'] = function(watched)
  S.watched = math.max(S.watched, watched)
  return { 'watching', S.revision }
end
