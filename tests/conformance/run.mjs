// Holds one edge with the policy honour-origin against the public suite http-cache-tests (npm).
//
//   node tests/conformance/run.mjs ISO [--update]
//
// ISO is the binary. The cases that pass stand in passes.txt, which may only grow: one that passed and fails is an error,
// one that is new is named, and --update writes it down. Why a case fails stands in failures.md, by its name.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const PACKAGE = 'http-cache-tests@0.4.5'
const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.join(here, '..', '..')
const [iso, update] = process.argv.slice(2)
if (!iso) {
  console.error('usage: node tests/conformance/run.mjs ISO [--update]')
  process.exit(2)
}

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'iso-conformance-'))
const prefix = path.join(root, 'target', 'conformance')
const suite = path.join(prefix, 'node_modules', 'http-cache-tests')

function run (command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options })
    let out = ''
    child.stdout.on('data', data => { out += data })
    child.on('error', reject)
    child.on('exit', code => code === 0 ? resolve(out) : reject(new Error(`${command} ${args[0]} ended with ${code}`)))
  })
}

function freePort () {
  return new Promise(resolve => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

async function answers (port, deadline = Date.now() + 10_000) {
  for (;;) {
    const up = await new Promise(resolve => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) })
      socket.on('error', () => resolve(false))
    })
    if (up) return
    if (Date.now() > deadline) throw new Error("the suite's server does not answer")
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

async function results () {
  fs.mkdirSync(prefix, { recursive: true })
  if (!fs.existsSync(suite)) {
    const npm = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', prefix, PACKAGE]
    await run('npm', npm)
  }
  const port = await freePort()
  const settings = { npm_config_protocol: 'http', npm_config_port: `${port}`, npm_config_pidfile: path.join(home, 'pid') }
  // The old server listens on all addresses of this machine's loopback name; it is gone when this program is.
  const server = spawn('node', ['server/server.mjs'], { cwd: suite, env: { ...process.env, ...settings }, stdio: 'ignore' })
  const env = { ...process.env, ISO_HOME: home }
  try {
    await answers(port)
    const origin = `suite=http://127.0.0.1:${port}@IAD`
    const up = ['up', '-d', '--wait', '--base-port', '0', '--pops', 'IAD', '--shield', 'none']
    await run(iso, [...up, '--origin', origin, '--cache', 'honour-origin'], { env })
    const status = JSON.parse(await run(iso, ['status', '--json'], { env }))
    const edge = status.nodes.find(node => node.role === 'edge').addresses.http
    const base = { npm_config_base: `http://${edge}`, npm_config_id: '', npm_package_config_id: '', NODE_NO_WARNINGS: '1' }
    return JSON.parse(await run('node', ['cli.mjs'], { cwd: suite, env: { ...process.env, ...base } }))
  } finally {
    server.kill()
    await run(iso, ['down'], { env }).catch(() => {})
    fs.rmSync(home, { recursive: true, force: true })
  }
}

const file = path.join(here, 'passes.txt')
const expected = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').filter(Boolean) : []
let all = await results()
if (expected.some(id => all[id] !== true)) {
  // The cases run by the machine's clock, so a busy machine gets a second chance; what fails twice fails.
  const again = await results()
  all = Object.fromEntries(Object.keys(all).map(id => [id, all[id] === true ? true : again[id]]))
}
const passed = Object.keys(all).filter(id => all[id] === true).sort()
const lost = expected.filter(id => !passed.includes(id))
const gained = passed.filter(id => !expected.includes(id))
const explained = fs.readFileSync(path.join(here, 'failures.md'), 'utf8')
const unexplained = Object.keys(all).filter(id => all[id] !== true && !explained.includes(`\`${id}\``))
for (const id of lost) console.error(`passed before: ${id}: ${all[id]}`)
for (const id of update ? [] : gained) console.error(`passes now, add it to passes.txt (--update): ${id}`)
for (const id of unexplained) console.error(`fails without a word in failures.md: ${id}: ${all[id]}`)
if (update) fs.writeFileSync(file, [...new Set([...expected, ...passed])].sort().join('\n') + '\n')
console.log(`${passed.length} of ${Object.keys(all).length} cases pass`)
process.exit(lost.length + unexplained.length > 0 ? 1 : 0)
