// server.js: an HTTP server on a port of every address (argument 4) that counts how
// often each path was asked for. It ends with the go file.
const fs = require('fs'), http = require('http');
const [go, log, port] = process.argv.slice(2);
const counts = {};
const server = http.createServer((req, res) => res.end(`${req.url} ${counts[req.url] = (counts[req.url] || 0) + 1}`));
server.keepAliveTimeout = 0;
server.listen(port, () => fs.appendFileSync(log, 'ready\n'));
setInterval(() => {
	if (fs.existsSync(go)) {
		fs.appendFileSync(log, 'ok\n');
		process.exit(0);
	}
}, 20);
