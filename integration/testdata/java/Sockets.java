import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Selector;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;

/** Threads that compute, allocate, wait for each other and talk over a unix socket. */
class Sockets {
	static Path go, log;
	static volatile boolean stop, over;
	static final AtomicLong served = new AtomicLong();

	static void say(String line) throws IOException {
		Files.writeString(log, line + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
	}

	static void fail(Throwable why) {
		try {
			say("FAIL " + why + " " + why.getStackTrace()[0]);
		} catch (IOException e) {
		}
		Runtime.getRuntime().halt(1);
	}

	static void check(boolean holds, String why) {
		if (!holds)
			fail(new AssertionError(why));
	}

	interface Work {
		void run() throws Exception;
	}

	static Thread start(Work work) {
		Thread t = new Thread(() -> {
			try {
				work.run();
			} catch (Throwable e) {
				fail(e);
			}
		});
		t.start();
		return t;
	}

	static long sum(int n) {
		List<Long> list = new ArrayList<>();
		for (long i = 0; i < n; i++)
			list.add(i);
		return list.stream().parallel().mapToLong(i -> i).sum();
	}

	static void computes() {
		while (!stop)
			check(sum(10_000) == 49_995_000L, "wrong sum");
	}

	static void serves(ServerSocketChannel server) throws IOException {
		Selector selector = Selector.open();
		server.configureBlocking(false);
		server.register(selector, SelectionKey.OP_ACCEPT);
		ByteBuffer buf = ByteBuffer.allocate(64);
		while (!over) {
			selector.select(100);
			for (SelectionKey key : selector.selectedKeys()) {
				if (key.isAcceptable()) {
					SocketChannel c = server.accept();
					c.configureBlocking(false);
					c.register(selector, SelectionKey.OP_READ);
					continue;
				}
				SocketChannel c = (SocketChannel) key.channel();
				buf.clear();
				if (c.read(buf) < 0) {
					c.close();
					continue;
				}
				buf.flip();
				while (buf.hasRemaining())
					c.write(buf);
				served.incrementAndGet();
			}
			selector.selectedKeys().clear();
		}
	}

	static void asks(UnixDomainSocketAddress at) throws IOException {
		try (SocketChannel c = SocketChannel.open(at)) {
			ByteBuffer buf = ByteBuffer.allocate(8);
			for (long n = 0; !stop; n++) {
				buf.clear();
				buf.putLong(n).flip();
				while (buf.hasRemaining())
					c.write(buf);
				buf.clear();
				while (buf.hasRemaining())
					check(c.read(buf) > 0, "end of the connection");
				check(buf.flip().getLong() == n, "echo " + n);
			}
		}
	}

	public static void main(String[] args) throws Exception {
		go = Path.of(args[0]);
		log = Path.of(args[1]);
		UnixDomainSocketAddress at = UnixDomainSocketAddress.of(go.resolveSibling("s"));
		ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
		server.bind(at);
		List<Thread> all = new ArrayList<>();
		Thread serving = start(() -> serves(server));
		for (int i = 0; i < 2; i++) {
			all.add(start(Sockets::computes));
			all.add(start(() -> asks(at)));
		}
		while (served.get() < 1000)
			Thread.sleep(5);
		Process cat = new ProcessBuilder("cat").start();
		say("ready");
		while (!Files.exists(go))
			Thread.sleep(20);
		long before = served.get();
		cat.getOutputStream().write("through\n".getBytes());
		cat.getOutputStream().close();
		check(new String(cat.getInputStream().readAllBytes()).equals("through\n") && cat.waitFor() == 0, "cat");
		while (served.get() < before + 100)
			Thread.sleep(5);
		var pool = Executors.newFixedThreadPool(4);
		check(pool.submit(() -> sum(1000)).get() == 499_500L, "pool");
		pool.shutdown();
		stop = true;
		for (Thread t : all)
			t.join();
		over = true;
		serving.join();
		Files.delete(at.getPath());
		say("ok");
	}
}
