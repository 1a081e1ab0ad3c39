// children.js: node with child processes that it talks to over its own
// channel and over their stdin and stdout, and a server with
// clients that keep their connections.
const { fork, spawn } = require('child_process');
const fs = require('fs'), http = require('http'), path = require('path');

if (process.send) { // the child
	let n = 0;
	process.on('message', (m) => process.send({ square: m.n * m.n, count: ++n }));
	return;
}

const [go, log, tcp] = process.argv.slice(2);
const say = (line) => fs.appendFileSync(log, line + '\n');
const fail = (why) => { say('FAIL ' + why); process.exit(1); };
const check = (cond, why) => cond || fail(why);
process.on('uncaughtException', (e) => fail(e.stack.replace(/\n/g, ' ')));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

let stopped = false;

async function squares(child) {
	let n = 0;
	while (!stopped) {
		const answer = new Promise((done) => child.once('message', done));
		child.send({ n });
		const got = await answer;
		check(got.square === n * n && got.count === ++n, `square ${n}: ${JSON.stringify(got)}`);
	}
	return n;
}

function get(agent, where, n) {
	return new Promise((done, wrong) => {
		http.get({ ...where, agent, path: '/' + n }, (res) => {
			let body = '';
			res.on('data', (d) => (body += d)).on('end', () => done(body));
		}).on('error', wrong);
	});
}

async function client(where) {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
	let n = 0;
	for (; !stopped; n++)
		check(await get(agent, where, n) === `page /${n} `.repeat(1 + n % 3000), `page ${n}`);
	agent.destroy();
	return n;
}

async function main() {
	const pid = process.pid, host = `127.${128 | (pid >> 16) & 127}.${(pid >> 8) & 255}.${pid & 255}`;
	let at = tcp ? { host, port: 0 } : { path: path.join(path.dirname(go), 's') };
	let connections = 0;
	const server = http.createServer((req, res) => res.end(`page ${req.url} `.repeat(1 + req.url.slice(1) % 3000)));
	server.on('connection', () => connections++);
	await new Promise((done) => server.listen(at, done));
	at = tcp ? { host, port: server.address().port } : { socketPath: at.path };
	const child = fork(__filename), cat = spawn('cat');
	const echo = (text) => new Promise((done) => { cat.stdout.once('data', done); cat.stdin.write(text); });
	check(String(await echo('before')) === 'before', 'cat');
	const talks = [squares(child), client(at), client(at)];
	await wait(200);
	say('ready');
	while (!fs.existsSync(go))
		await wait(20);
	check(String(await echo('after')) === 'after', 'cat after');
	await wait(200);
	stopped = true;
	for (const n of await Promise.all(talks))
		check(n > 10, `only ${n} answers`);
	check(connections === 2, `${connections} connections`);
	child.disconnect();
	cat.stdin.end();
	await new Promise((done) => child.on('exit', done));
	server.close();
	say('ok');
	process.exit(0);
}
main();
