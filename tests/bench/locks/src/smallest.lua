#!lua name=bench
-- The smallest lock worth the name: one holder, a lease, a token greater than
-- those before, and nobody but its holder releases it.

redis.register_function('acquire', function(keys, arguments)
  local lock, token = keys[1], keys[2]
  local holder, lease = arguments[1], arguments[2]
  if not redis.call('SET', lock, holder, 'NX', 'PX', lease) then
    return false
  end
  return redis.call('INCR', token)
end)

redis.register_function('release', function(keys, arguments)
  local lock, holder = keys[1], arguments[1]
  if redis.call('GET', lock) ~= holder then
    return 0
  end
  return redis.call('DEL', lock)
end)
