// Lets a page of pusher-js resume: remembers where each channel stands and, when the
// connection comes back, says so before pusher-js subscribes again. Gives the positions,
// which may be stored and handed in after a reload. A channel whose position is null asks
// for a snapshot (`courant:snapshot`), if the server has one.
export function resumable(pusher, positions = {}) {
  pusher.connection.bind('state_change', ({ current }) => {
    if (current !== 'connected') return
    // pusher-js heard the message first: a position says what the page has had.
    pusher.connection.connection.transport.bind('message', ({ data }) => {
      const { channel, position } = JSON.parse(data)
      if (channel && position) positions[channel] = position
    })
    if (Object.keys(positions).length > 0) pusher.send_event('courant:resume', { positions })
  })
  return positions
}
