// Puts a caching resolver (unbound, with client subnets) before the router: nobody may be sent astray by its cache.
//
//   node tests/resolver/run.mjs ISO
//
// ISO is the binary. Needs unbound and dig. Clients of unknown place ask first, then those of every second network, twice
// and in another order, so that what the cache kept for one could be given to another. Each must get what the router
// itself says to that network.

import { execFile, spawn } from 'node:child_process'
import dgram from 'node:dgram'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'

const NAME = 'www.demo.test'
/** Where unbound listens: no world uses it, nor does a connection of anybody start there. */
const ADDRESS = '127.53.0.3'
/** Of no place that the router knows. */
const STRANGERS = ['203.0.113.0/24', '192.0.2.0/24', '10.0.0.0/8', '0.0.0.0/0']

const [iso] = process.argv.slice(2)
if (!iso) {
  console.error('usage: node tests/resolver/run.mjs ISO')
  process.exit(2)
}
const home = fs.mkdtempSync(path.join(os.tmpdir(), 'iso-resolver-'))
const env = { ...process.env, ISO_HOME: home, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }

async function run (command, ...args) {
  const { stdout } = await promisify(execFile)(command, args, { env, maxBuffer: 1 << 26 })
  return stdout
}

/** A port of `ADDRESS` that is free for datagrams and for connections. */
async function freePort () {
  for (;;) {
    const server = net.createServer()
    const port = await new Promise(resolve => server.listen(0, ADDRESS, () => resolve(server.address().port)))
    const socket = dgram.createSocket('udp4')
    const free = await new Promise(resolve => socket.once('error', () => resolve(false)).bind(port, ADDRESS, () => resolve(true)))
    if (free) await new Promise(resolve => socket.close(resolve))
    await new Promise(resolve => server.close(resolve))
    if (free) return port
  }
}

/** What a server answers to each of these networks: its addresses, best first. */
async function answers (address, port, networks) {
  const file = path.join(home, 'questions')
  fs.writeFileSync(file, networks.map(network => `${NAME} A +subnet=${network} +short +tries=2 +time=5\n`).join(''))
  const lines = (await run('dig', `@${address}`, '-p', `${port}`, '-f', file)).trim().split('\n')
  const each = lines.length / networks.length
  if (!Number.isInteger(each)) throw new Error(`${networks.length} questions have ${lines.length} addresses for answers`)
  return networks.map((_, at) => lines.slice(at * each, (at + 1) * each).join(' '))
}

/** Undefined where another program took the port first. */
async function tryUnbound (address, dns) {
  const port = await freePort()
  const stub = zone => ['stub-zone:', `  name: ${zone}`, `  stub-addr: ${address}@${dns}`]
  fs.writeFileSync(path.join(home, 'unbound.conf'), ['server:', `  interface: ${ADDRESS}`, `  port: ${port}`,
    '  do-not-query-localhost: no', '  local-zone: "test." nodefault', '  module-config: "subnetcache iterator"',
    '  client-subnet-zone: test.', '  client-subnet-always-forward: yes', `  send-client-subnet: ${address}`,
    '  do-daemonize: no', '  username: ""', '  chroot: ""', `  directory: "${home}"`, '  pidfile: ""', '  use-syslog: no',
    '  rrset-roundrobin: no', '  minimal-responses: yes', '  num-threads: 1',
    'remote-control:', '  control-enable: no', ...stub('demo.test'), ...stub('cdn.test'), ''].join('\n'))
  const child = spawn('unbound', ['-d', '-c', path.join(home, 'unbound.conf')], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', data => { said += data })
  child.on('error', error => { said += error })
  const deadline = Date.now() + 10_000
  for (;;) {
    const answer = await run('dig', `@${ADDRESS}`, '-p', `${port}`, '+tries=1', '+time=1', '+short', 'demo.test', 'SOA').catch(() => '')
    if (answer.trim() && !answer.startsWith(';')) return { port, stop: () => child.kill() }
    if (said.includes('Address already in use')) return undefined
    if (Date.now() > deadline || child.exitCode !== null) throw new Error(`unbound does not resolve: ${said}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

async function startUnbound (address, dns) {
  for (let left = 10; left > 0; left -= 1) {
    const unbound = await tryUnbound(address, dns)
    if (unbound) return unbound
  }
  throw new Error(`ten ports of ${ADDRESS}, free a moment before, were taken when unbound came`)
}

const stops = []
try {
  // By distance alone, so that the answer to a network does not change between two questions.
  const config = path.join(home, 'cluster.toml')
  fs.writeFileSync(config, 'preset = "world-18"\n[router]\npolicy = "geo"\n')
  await run(iso, 'up', '-d', '--wait', '--base-port', '0', '--config', config)
  stops.push(() => run(iso, 'down'))
  const { nodes } = JSON.parse(await run(iso, 'status', '--json'))
  const [address, dns] = nodes.find(node => node.role === 'router').addresses.dns.split(':')
  const unbound = await startUnbound(address, dns)
  stops.push(unbound.stop)

  const networks = Array.from({ length: 256 }, (_, at) => `198.${18 + (at >> 7)}.${(at & 127) * 2}.0/24`)
  const right = new Map()
  for (const [at, answer] of (await answers(address, dns, networks)).entries()) right.set(networks[at], answer)
  const different = new Set(right.values()).size
  if (different < 4) throw new Error(`the router has ${different} answers for ${networks.length} networks: nothing to mix up`)

  await answers(ADDRESS, unbound.port, STRANGERS)
  // A fixed shuffle: 89 has no divisor in common with 256.
  const shuffled = networks.map((_, at) => networks[(at * 89) % networks.length])
  let astray = 0
  for (const order of [networks, shuffled, [...shuffled].reverse()]) {
    for (const [at, answer] of (await answers(ADDRESS, unbound.port, order)).entries()) {
      if (answer === right.get(order[at])) continue
      astray += 1
      console.log(`${order[at]}: ${answer} through the resolver, ${right.get(order[at])} from the router`)
    }
    await answers(ADDRESS, unbound.port, STRANGERS)
  }
  console.log(`${3 * networks.length} questions through a caching resolver, ${different} different answers, ${astray} astray`)
  process.exitCode = astray ? 1 : 0
} finally {
  for (const stop of stops.reverse()) await stop()
  fs.rmSync(home, { recursive: true, force: true })
}
