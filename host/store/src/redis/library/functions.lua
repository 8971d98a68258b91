-- The functions of the library.
--
-- Each is called with the key `m` of its space and the arguments of `begin`; it
-- lets time pass, does its own, and answers, packed: the time, how many grants
-- are held, wait, and sessions are open, what is to be counted, and its answer.
-- An answer is a list that begins with a word.

-- The most that a function takes. Those that are missing are nil.
local ARGUMENTS_MAX = 12

local function register(name, flags, run)
  redis.register_function({
    function_name = LIBRARY .. '_' .. name,
    callback = function(keys, args)
      if not begin(keys, args) then
        return redis.error_reply('RECOVERING the space is not as it was')
      end
      Deadlines.pass()
      return finish_step(run(unpack(cmsgpack.unpack(args[3]), 1, ARGUMENTS_MAX)))
    end,
    flags = flags,
  })
end

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

-- What gives back memory, or keeps what is held, is done without any to spare.
local TAKES, GIVES = {}, { 'allow-oom' }

register('acquire', TAKES, when_recovered(Acquire.acquire))
register('claim', GIVES, Ends.claim_one)
register('cancel', GIVES, Ends.cancel)
register('abandon', GIVES, Ends.abandon)
register('renew', GIVES, Ends.renew)
register('release', GIVES, Ends.release)
register('force_release', GIVES, Ends.force_release)
register('end', GIVES, Ends.transaction)

register('open_session', TAKES, Sessions.open)
register('attach', GIVES, Sessions.attach)
register('beat', GIVES, Sessions.beat)
register('detach', GIVES, Sessions.detach_from)
register('close_session', GIVES, Sessions.close)

register('commit', TAKES, when_recovered(State.commit))
register('resolve', GIVES, State.resolve)
register('list', GIVES, State.list)
register('look', GIVES, Look.at_all)

-- A node comes, with a lease.
register('join', TAKES, Nodes.join)

-- A node goes.
register('leave', GIVES, Nodes.leave)

-- A node says what it had before the server was replaced.
register('rejoin', GIVES, Nodes.rejoin)
register('recover_session', GIVES, Recovery.session)
register('recover_grants', GIVES, Recovery.grants)

-- A node lives on: its lease is renewed, what it has acknowledged is forgotten,
-- and a search for deadlocks goes on. Somebody watches there until `watched`.
register('node_beat', GIVES, function(lease, acknowledged, watched)
  S.watched = math.max(S.watched, watched)
  Deadlock.search_on()
  return Nodes.beat(lease, acknowledged)
end)

-- Somebody begins to watch: answers the number of the latest event.
register('watch', GIVES, function(watched)
  S.watched = math.max(S.watched, watched)
  return { 'watching', S.revision }
end)

-- Takes a space as it is found, or makes it.
redis.register_function({
  function_name = LIBRARY .. '_open',
  callback = function(keys, args)
    return Recovery.open(string.sub(keys[1], 1, -2), wall_clock(args), args)
  end,
  flags = GIVES,
})
