// dynalite, an independent implementation of DynamoDB, behind a proxy that adds what the meter needs and it lacks:
//
// - ReturnValuesOnConditionCheckFailure: the item is read when a condition failed.
// - Conditions that compare maps and lists. dynalite finds none equal; DynamoDB's API reference has "EQ is supported for
//   all data types, including lists and maps" (API_Condition). The proxy compares them before the call.
// - CreateTable and DeleteTable answer when the table is there or gone, as moto's do.
//
// The proxy carries out the calls of a table one after another, so that its reads see what a call sees. So nothing that
// depends on concurrent calls is judged here. The server prints its URL, and ends when its standard input does.

import http from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import dynalite from 'dynalite'

const MAX_BODY = 16 * 1024 * 1024
const API = 'DynamoDB_20120810.'
const COMPARISON = /(#?\w+) = (:\w+)/g // of a top-level attribute
const inner = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
inner.keepAliveTimeout = 0 // no connection is closed while a request is on its way
const agent = new http.Agent({ keepAlive: true })
const turns = new Map() // table -> the call after which the next one begins
const keys = new Map() // table -> names of its key's attributes

function call(operation, headers, body) {
  const { port } = inner.address()
  const wanted = { ...headers, 'x-amz-target': API + operation, 'content-length': Buffer.byteLength(body) }
  delete wanted['transfer-encoding']
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, method: 'POST', path: '/', agent, headers: wanted }, response => {
      const chunks = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

async function ask(operation, headers, asked) {
  const answer = await call(operation, headers, JSON.stringify(asked))
  return { status: answer.status, value: JSON.parse(answer.body) }
}

async function keyNames(table, headers) {
  if (!keys.has(table)) {
    const { value } = await ask('DescribeTable', headers, { TableName: table })
    keys.set(table, value.Table.KeySchema.map(key => key.AttributeName))
  }
  return keys.get(table)
}

async function settled(table, headers, gone) {
  for (;;) {
    const { status, value } = await ask('DescribeTable', headers, { TableName: table })
    if (gone ? status === 400 : value.Table?.TableStatus === 'ACTIVE') return
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}

async function read(asked, headers) {
  const names = await keyNames(asked.TableName, headers)
  const Key = asked.Key ?? Object.fromEntries(names.map(name => [name, asked.Item[name]]))
  const { value } = await ask('GetItem', headers, { TableName: asked.TableName, Key, ConsistentRead: true })
  return value.Item
}

async function compareMaps(asked, headers) {
  const values = asked.ExpressionAttributeValues ?? {}
  const compared = [...(asked.ConditionExpression ?? '').matchAll(COMPARISON)].filter(([, , name]) => values[name]?.M ?? values[name]?.L)
  if (compared.length === 0) return
  const item = await read(asked, headers)
  for (const [text, path, name] of compared) {
    const equal = isDeepStrictEqual(item?.[asked.ExpressionAttributeNames?.[path] ?? path], values[name])
    const outcome = equal ? `attribute_exists(${path})` : `(attribute_exists(${path}) AND attribute_not_exists(${path}))`
    asked.ConditionExpression = asked.ConditionExpression.replace(text, outcome)
    const rest = `${asked.ConditionExpression} ${asked.UpdateExpression ?? ''}`
    if (!new RegExp(`${name}\\b`).test(rest)) delete values[name] // a value that is not used is an error
  }
  if (Object.keys(values).length === 0) delete asked.ExpressionAttributeValues
}

async function carryOut(operation, headers, asked) {
  const returned = asked.ReturnValuesOnConditionCheckFailure
  delete asked.ReturnValuesOnConditionCheckFailure
  await compareMaps(asked, headers)
  const answer = await call(operation, headers, JSON.stringify(asked))
  if (answer.status === 200 && (operation === 'CreateTable' || operation === 'DeleteTable')) {
    keys.delete(asked.TableName)
    await settled(asked.TableName, headers, operation === 'DeleteTable')
  }
  if (answer.status !== 400 || returned !== 'ALL_OLD') return answer
  const error = JSON.parse(answer.body)
  if (!error.__type.endsWith('ConditionalCheckFailedException')) return answer
  const Item = await read(asked, headers)
  const body = Buffer.from(JSON.stringify({ ...error, Item }))
  return { status: 400, headers: { 'content-type': answer.headers['content-type'] }, body }
}

function respond(response, { status, headers, body }) {
  const kept = { 'content-type': headers['content-type'], 'content-length': body.length, connection: 'close' } // as moto's
  if (headers['x-amzn-requestid']) kept['x-amzn-requestid'] = headers['x-amzn-requestid']
  response.writeHead(status, kept).end(body)
}

const outer = http.createServer((request, response) => {
  const chunks = []
  let size = 0
  request.on('data', chunk => {
    size += chunk.length
    if (size > MAX_BODY) request.destroy()
    else chunks.push(chunk)
  })
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString()
    const operation = (request.headers['x-amz-target'] ?? '').slice(API.length)
    let asked
    try {
      asked = JSON.parse(body)
    } catch {
      asked = {}
    }
    const table = asked.TableName ?? ''
    const turn = (turns.get(table) ?? Promise.resolve())
      .then(() => carryOut(operation, request.headers, asked))
      .then(answer => respond(response, answer))
      .catch(error => response.writeHead(500).end(String(error.stack)))
    turns.set(table, turn)
  })
})

inner.listen(0, '127.0.0.1', () => outer.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${outer.address().port}`)))
process.stdin.on('end', () => process.exit(0)).resume()
