// Holds the router's zones against Zonemaster, without a network: a root and a `test` of our own stand in for the world's.
//
//   node tests/zonemaster/run.mjs ISO
//
// ISO is the binary. Needs zonemaster-cli, nsd and dig, and the right to listen on port 53 of loopback addresses, because
// Zonemaster knows no other port. What it may find, and why, stands in expected.md, by tag; anything else that it calls a
// warning or worse is an error.

import { execFile, spawn } from 'node:child_process'
import dgram from 'node:dgram'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ZONES = ['demo.test', 'cdn.test']
/** Where the root and `test` are served: addresses that no world uses. */
const ROOTS = ['127.53.0.1', '127.53.0.2']

const here = path.dirname(fileURLToPath(import.meta.url))
const [iso] = process.argv.slice(2)
if (!iso) {
  console.error('usage: node tests/zonemaster/run.mjs ISO')
  process.exit(2)
}
const home = fs.mkdtempSync(path.join(os.tmpdir(), 'iso-zonemaster-'))
const env = { ...process.env, ISO_HOME: home, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }

async function run (command, ...args) {
  const { stdout } = await promisify(execFile)(command, args, { env, maxBuffer: 1 << 26 })
  return stdout
}

/** Port 53 of `address` stands for `port`: a datagram each way, or a connection. */
async function standFor (address, port) {
  const udp = dgram.createSocket('udp4')
  udp.on('message', (question, from) => {
    const ask = dgram.createSocket('udp4')
    ask.on('message', answer => { udp.send(answer, from.port, from.address); ask.close() })
    ask.send(question, port, address)
    setTimeout(() => { try { ask.close() } catch { /* it was answered */ } }, 5000)
  })
  const tcp = net.createServer(client => {
    const server = net.connect(port, address)
    client.pipe(server).pipe(client)
    for (const [one, other] of [[client, server], [server, client]]) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  await Promise.all([
    new Promise((resolve, reject) => udp.once('error', reject).bind(53, address, resolve)),
    new Promise((resolve, reject) => tcp.once('error', reject).listen(53, address, resolve)),
  ])
  return () => { udp.close(); tcp.close() }
}

/** Serves the root and `test`, with `delegations` in it, until told to stop. */
async function serveRoots (delegations) {
  const soa = '3600 IN SOA a.nic.test. hostmaster.nic.test. 1 14400 3600 1209600 3600'
  const servers = ROOTS.map((address, at) => ({ name: `${'ab'[at]}.nic.test.`, address }))
  const ns = zone => servers.map(({ name }) => `${zone} 3600 IN NS ${name}`)
  const addresses = servers.map(({ name, address }) => `${name} 3600 IN A ${address}`)
  fs.writeFileSync(path.join(home, 'root'), [`. ${soa}`, ...ns('.'), ...ns('test.'), ...addresses, ''].join('\n'))
  fs.writeFileSync(path.join(home, 'test'), [`test. ${soa}`, ...ns('test.'), ...addresses, ...delegations, ''].join('\n'))
  fs.writeFileSync(path.join(home, 'hints'), [...ns('.'), ...addresses, ''].join('\n'))
  const zone = (name, file) => `zone:\n  name: "${name}"\n  zonefile: "${path.join(home, file)}"\n`
  const server = ['server:', ...ROOTS.map(address => `  ip-address: ${address}`), '  username: ""',
    `  zonesdir: "${home}"`, `  pidfile: "${home}/nsd.pid"`, `  xfrdfile: "${home}/xfrd"`, `  zonelistfile: "${home}/list"`,
    `  xfrdir: "${home}"`, '  database: ""', '  server-count: 1', 'remote-control:', '  control-enable: no', ''].join('\n')
  fs.writeFileSync(path.join(home, 'nsd.conf'), server + zone('.', 'root') + zone('test.', 'test'))
  const child = spawn('nsd', ['-d', '-c', path.join(home, 'nsd.conf')], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', data => { said += data })
  child.on('error', error => { said += error })
  const deadline = Date.now() + 10_000
  for (;;) {
    const answer = await run('dig', `@${ROOTS[0]}`, '+norec', '+tries=1', '+time=1', '+short', 'test', 'SOA').catch(() => '')
    if (answer.includes('a.nic.test.')) return () => child.kill()
    if (Date.now() > deadline || child.exitCode !== null) throw new Error(`nsd does not serve the root: ${said}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** The profile that comes with it, less what asks the world's databases or refuses loopback addresses. */
async function profile () {
  const whole = JSON.parse(await run('zonemaster-cli', '--dump-profile'))
  // Who announces the addresses; whether they are public; whether they have names.
  const outside = ['connectivity03', 'address01', 'address02', 'address03']
  whole.test_cases = whole.test_cases.filter(name => !outside.includes(name))
  whole.net = { ipv4: true, ipv6: false }
  const file = path.join(home, 'profile.json')
  fs.writeFileSync(file, JSON.stringify(whole))
  return file
}

function expected () {
  const text = fs.readFileSync(path.join(here, 'expected.md'), 'utf8')
  return new Set([...text.matchAll(/^- `([A-Z0-9_]+)`: /gm)].map(([, tag]) => tag))
}

const stops = []
let failed = false
try {
  await run(iso, 'up', '-d', '--wait', '--base-port', '0')
  stops.push(() => run(iso, 'down'))
  const { nodes } = JSON.parse(await run(iso, 'status', '--json'))
  const routers = nodes.filter(node => node.role === 'router').map(node => node.addresses.dns.split(':'))
  const [address, port] = routers[0]
  const ask = (...args) => run('dig', `@${address}`, '-p', port, '+norec', '+short', ...args)
  const delegations = []
  const glue = new Map()
  for (const zone of ZONES) {
    for (const name of (await ask(zone, 'NS')).trim().split('\n')) {
      delegations.push(`${zone}. 3600 IN NS ${name}`)
      glue.set(name, (await ask(name, 'A')).trim().split('\n'))
    }
  }
  for (const [name, addresses] of glue) delegations.push(...addresses.map(to => `${name} 3600 IN A ${to}`))
  for (const [at, on] of routers) stops.push(await standFor(at, Number(on)))
  stops.push(await serveRoots(delegations))

  const allowed = expected()
  const seen = new Set()
  const settings = ['--hints', path.join(home, 'hints'), '--profile', await profile(), '--level', 'WARNING']
  for (const zone of ZONES) {
    const results = JSON.parse(await run('zonemaster-cli', ...settings, '--json', '--json-translate', zone))
    for (const { level, tag, testcase, message } of results) {
      seen.add(tag)
      if (allowed.has(tag)) continue
      failed = true
      console.log(`${zone}: ${level} ${testcase} ${tag}: ${message ?? ''}`)
    }
    console.log(`${zone}: ${results.length} findings`)
  }
  for (const tag of allowed) {
    if (seen.has(tag)) continue
    failed = true
    console.log(`${tag} stands in expected.md, and was not found`)
  }
} finally {
  for (const stop of stops.reverse()) await stop()
  fs.rmSync(home, { recursive: true, force: true })
}
process.exitCode = failed ? 1 : 0
