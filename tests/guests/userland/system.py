# Processes, threads, sockets, signals.
import subprocess, threading, socket, signal, os, time, mmap, select, multiprocessing, tempfile
print(subprocess.run('echo $((6 * 7)); exit 5', shell=True, capture_output=True, text=True))
total, lock = 0, threading.Lock()
def add(n):
    global total
    for _ in range(2000):
        with lock: total += n
workers = [threading.Thread(target=add, args=(n,)) for n in range(8)]
[w.start() for w in workers]; [w.join() for w in workers]; print(total)
a, b = socket.socketpair(); a.sendall(b'x' * 50000); a.close(); print(sum(len(c) for c in iter(lambda: b.recv(4096), b'')))
hits = []; signal.signal(signal.SIGALRM, lambda *_: hits.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
while len(hits) < 5: time.sleep(0.01)
signal.setitimer(signal.ITIMER_REAL, 0); print(len(hits) >= 5)
pid = os.fork()
if pid == 0: os.kill(os.getpid(), signal.SIGKILL)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
with tempfile.TemporaryFile() as f:
    f.truncate(1 << 20); m = mmap.mmap(f.fileno(), 0); m[5000:5005] = b'hello'; f.seek(5000); print(f.read(5), m.find(b'llo'))
with multiprocessing.Pool(3) as pool: print(sum(pool.map(abs, range(-500, 500))))
before = time.monotonic(); time.sleep(0.1); print(time.monotonic() - before >= 0.1)
