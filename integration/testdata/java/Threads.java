// Threads that compute, allocate, wait for each other and talk to a subprocess.

import java.io.BufferedReader;
import java.io.FileWriter;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicIntegerArray;

public class Threads {
    static String go, log;
    static volatile boolean stop;
    static final AtomicIntegerArray steps = new AtomicIntegerArray(5);

    static synchronized void say(String line) {
        try (FileWriter w = new FileWriter(log, true)) {
            w.write(line + "\n");
        } catch (Exception e) {
            Runtime.getRuntime().halt(2);
        }
    }

    static void check(boolean cond, String why) {
        if (!cond) {
            say("FAIL " + why);
            Runtime.getRuntime().halt(1);
        }
    }

    interface Step {
        void run() throws Exception;
    }

    // thread makes a thread that takes steps until it is told to stop.
    static Thread thread(int n, Step step) {
        Thread t = new Thread(() -> {
            try {
                while (!stop) {
                    step.run();
                    steps.incrementAndGet(n);
                }
            } catch (Throwable e) {
                check(false, "thread " + n + ": " + e);
            }
        });
        t.start();
        return t;
    }

    static byte[] digest() throws Exception {
        byte[] data = new byte[100000];
        Arrays.fill(data, (byte) 'x');
        return MessageDigest.getInstance("SHA-256").digest(data);
    }

    public static void main(String[] args) throws Exception {
        go = args[0];
        log = args[1];
        byte[] want = digest();
        ArrayBlockingQueue<Integer> queue = new ArrayBlockingQueue<>(4);
        int[] next = {0, 0, 0};
        Process cat = new ProcessBuilder("cat").redirectErrorStream(true).start();
        PrintStream to = new PrintStream(cat.getOutputStream(), true);
        BufferedReader from = new BufferedReader(new InputStreamReader(cat.getInputStream()));
        Thread[] threads = {
            thread(0, () -> {
                check(Arrays.equals(digest(), want), "digest changed");
                Thread.sleep(1);
            }),
            thread(1, () -> {
                if (queue.offer(next[0], 1, TimeUnit.SECONDS)) {
                    next[0]++;
                }
            }),
            thread(2, () -> {
                Integer got = queue.poll(1, TimeUnit.SECONDS);
                check(got == null || got == next[1]++, "queue gave " + got);
                Thread.sleep(1);
            }),
            thread(3, () -> { // garbage
                Map<Integer, int[]> map = new HashMap<>();
                for (int i = 0; i < 2000; i++) {
                    map.put(i, new int[100]);
                    map.get(i)[i % 100] = i;
                }
                for (int i = 0; i < 2000; i++) {
                    check(map.get(i)[i % 100] == i, "map changed");
                }
                Thread.sleep(5);
            }),
            thread(4, () -> {
                String line = "line " + next[2]++;
                to.println(line);
                check(line.equals(from.readLine()), "cat gave another line");
                Thread.sleep(2);
            }),
        };
        Semaphore never = new Semaphore(0);
        var timer = Executors.newScheduledThreadPool(2);
        CountDownLatch latch = new CountDownLatch(1);
        timer.schedule(latch::countDown, 1, TimeUnit.SECONDS);
        say("ready");
        while (!new java.io.File(go).exists()) {
            check(!never.tryAcquire(10, TimeUnit.MILLISECONDS), "semaphore");
        }
        int[] before = new int[5];
        for (int i = 0; i < 5; i++) {
            before[i] = steps.get(i);
        }
        for (int i = 0; i < 5; i++) {
            for (int n = 0; steps.get(i) < before[i] + 3; n++) {
                check(n < 5000, "no progress in thread " + i);
                Thread.sleep(5);
            }
        }
        System.gc();
        check(latch.await(20, TimeUnit.SECONDS), "timer");
        timer.shutdown();
        stop = true;
        for (Thread t : threads) {
            t.join(20000);
            check(!t.isAlive(), "a thread hangs");
        }
        to.close();
        check(cat.waitFor() == 0, "cat");
        check(new ProcessBuilder("true").start().waitFor() == 0, "a new subprocess");
        say("ok");
        Runtime.getRuntime().halt(0);
    }
}
