// patron.js: asks an HTTP server (argument 2) over connections that it keeps. Each line
// on standard input is a path; the answer is one line. A connection that has
// ended is made anew, once.
const http = require('http'), readline = require('readline');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let made = 0;

function get(path) {
	return new Promise((done, wrong) => {
		const req = http.get({ host: '127.0.0.1', port: process.argv[2], path, agent }, (res) => {
			let body = '';
			res.on('data', (d) => (body += d)).on('end', () => done(body)).on('error', wrong);
		});
		req.on('error', (e) => (req.reusedSocket ? get(path).then(done, wrong) : wrong(e)));
		req.on('socket', (s) => { if (!req.reusedSocket) made++; });
	});
}

readline.createInterface({ input: process.stdin }).on('line', async (path) => {
	try {
		console.log(`${await get(path)} ${made}`);
	} catch (e) {
		console.log(`error ${e}`);
	}
});
