//! A fork-join pool for loops of a few microseconds: workers spin for a moment, then park.
//!
//! One loop runs at a time, as neighbouring chunks of tasks. Each worker has a part of them, always the same part, so that what
//! a loop reads lies in the caches of the core that wrote it in the loop before; who is done with its own part takes from others.
//!
//! A part is published as a *ticket*, one atomic word holding the loop's epoch and how many chunks nobody has taken yet; taking a
//! chunk is a compare-exchange on it. A worker that wakes late finds another epoch or no chunks left and touches nothing, so the
//! caller waits for chunks to finish and never for workers to answer: a parked worker costs a loop nothing but its help.
//!
//! How a loop is cut depends on the number of workers, hence nothing computed may depend on the cut.

use kiln_ir::artifact::{Kernel, Pool};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// Chunks per worker: enough to even out unequal chunks, few enough to keep taking them cheap.
const CHUNKS_PER_WORKER: i64 = 4;

/// How often a worker looks for the next loop before it parks: some 50 µs, longer than the serial stretches
/// between two kernels and shorter than anybody notices.
const SPINS_BEFORE_PARK: u32 = 2_000;

/// How often the caller looks for the last chunk before it yields its time slice to whoever computes it.
const SPINS_BEFORE_YIELD: u32 = 10_000;

/// Low bits of a ticket that count untaken chunks; the rest is the epoch (2⁴⁸ loops never wrap).
const CHUNK_BITS: u32 = 16;
const CHUNK_MASK: u64 = (1 << CHUNK_BITS) - 1;

/// Threads that help the calling thread with loops.
pub struct ThreadPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// One loop at a time, and who sleeps.
struct Shared {
    current: Padded<Published>,
    /// Each worker's part of the loop.
    tickets: Box<[Padded<AtomicU64>]>,
    /// Chunks that are not known to be done.
    unfinished: Padded<AtomicI64>,
    busy: AtomicBool,
    stop: AtomicBool,
    n_parked: AtomicUsize,
    workers: i64,
    sleepers: Box<[Sleeper]>,
}

/// A loop, on one cache line with what workers look at while they wait. It is written only while no chunk is untaken or running.
struct Published {
    epoch: AtomicU64,
    tasks: AtomicI64,
    chunks: AtomicI64,
    kernel: AtomicPtr<c_void>,
    args: AtomicPtr<c_void>,
}

/// Alone on its cache line, so that spinning on it does not slow its neighbours.
#[repr(align(128))]
struct Padded<T>(T);

struct Sleeper {
    parked: AtomicBool,
    thread: Thread,
}

thread_local! {
    /// The worker number of the kernel that runs on this thread, if one does.
    static INSIDE: Cell<Option<i64>> = const { Cell::new(None) };
}

/// How many threads this process may usefully run: CPU affinity and cgroup quota count, at least 1.
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl ThreadPool {
    /// A pool of that many workers, the calling thread included (0 counts as 1).
    ///
    /// Fewer when the system refuses to start threads; [`ThreadPool::workers`] says how many there are.
    pub fn new(workers: usize) -> ThreadPool {
        let helpers = workers.clamp(1, 1024) - 1;
        // Start threads first and publish the pool to them afterwards, so that it knows how many there really are.
        let (started, go) = (Arc::new(Mutex::new(None::<Arc<Shared>>)), Arc::new(AtomicBool::new(false)));
        let mut threads = Vec::with_capacity(helpers);
        for index in 0..helpers {
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            let work = move || {
                while !go.load(Ordering::Acquire) {
                    thread::park();
                }
                let shared = started.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(shared) = shared {
                    shared.serve(index);
                }
            };
            match thread::Builder::new().name(format!("kiln-{}", index + 1)).spawn(work) {
                Ok(handle) => threads.push(handle),
                Err(_) => break,
            }
        }
        let shared = Arc::new(Shared {
            current: Padded(Published {
                epoch: AtomicU64::new(0),
                tasks: AtomicI64::new(0),
                chunks: AtomicI64::new(0),
                kernel: AtomicPtr::new(ptr::null_mut()),
                args: AtomicPtr::new(ptr::null_mut()),
            }),
            tickets: (0..=threads.len()).map(|_| Padded(AtomicU64::new(0))).collect(),
            unfinished: Padded(AtomicI64::new(0)),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            n_parked: AtomicUsize::new(0),
            workers: threads.len() as i64 + 1,
            sleepers: threads.iter().map(|handle| Sleeper { parked: AtomicBool::new(false), thread: handle.thread().clone() }).collect(),
        });
        *started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&shared));
        go.store(true, Ordering::Release);
        threads.iter().for_each(|handle| handle.thread().unpark());
        ThreadPool { shared, threads }
    }

    /// Threads that compute, the caller included.
    pub fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    /// The pool as generated code calls it; valid as long as `self` lives.
    pub fn as_abi(&self) -> Pool {
        Pool { data: ptr::from_ref::<Shared>(&self.shared).cast_mut().cast(), workers: self.shared.workers, parallel_for }
    }

    /// Calls `body(worker, tasks)` on disjoint ranges that cover `0..tasks`, each at least `grain` long.
    ///
    /// A panic in `body` stops nothing else; the first one is raised again here when all chunks are done.
    pub fn for_each_chunk(&self, tasks: i64, grain: i64, body: impl Fn(usize, Range<i64>) + Sync) {
        struct Loop<F> {
            body: F,
            panic: Mutex<Option<Box<dyn Any + Send>>>,
        }
        unsafe extern "C" fn run<F: Fn(usize, Range<i64>) + Sync>(args: *const c_void, worker: i64, begin: i64, end: i64) {
            // SAFETY: `args` is the `Loop<F>` below, which outlives the parallel loop.
            let work = unsafe { &*args.cast::<Loop<F>>() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (work.body)(worker as usize, begin..end))) {
                work.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
        }
        fn kernel_of<F: Fn(usize, Range<i64>) + Sync>(_: &F) -> Kernel {
            run::<F>
        }
        let kernel = kernel_of(&body);
        let work = Loop { body, panic: Mutex::new(None) };
        // SAFETY: `kernel` reads `args` as what it is, and `body` is `Sync`.
        unsafe { self.shared.run(tasks, grain, kernel, ptr::from_ref(&work).cast()) };
        if let Some(panic) = work.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for handle in self.threads.drain(..) {
            handle.thread().unpark();
            // A worker cannot panic: kernels are C functions and closures are caught.
            let _ = handle.join();
        }
    }
}

/// [`kiln_ir::artifact::ParallelFor`] of this pool.
///
/// # Safety
/// `data` is from [`ThreadPool::as_abi`] of a living pool; `kernel` may be called with `args` from any thread.
unsafe extern "C" fn parallel_for(data: *mut c_void, tasks: i64, grain: i64, kernel: Kernel, args: *const c_void) {
    // SAFETY: the caller promises that the pool lives, and `Shared` is only used through `&`.
    unsafe { (*data.cast_const().cast::<Shared>()).run(tasks, grain, kernel, args) }
}

impl Shared {
    /// Runs one loop; `kernel` must be callable with `args` from any thread until this returns.
    unsafe fn run(&self, tasks: i64, grain: i64, kernel: Kernel, args: *const c_void) {
        if tasks <= 0 {
            return;
        }
        let chunks = (tasks / grain.max(1)).clamp(1, (self.workers * CHUNKS_PER_WORKER).min(CHUNK_MASK as i64));
        let inside = INSIDE.get();
        let alone = chunks == 1 || self.workers == 1 || inside.is_some();
        // Another thread may be using this pool for another call; then this one computes by itself.
        if alone || self.busy.swap(true, Ordering::Acquire) {
            let worker = inside.unwrap_or(0);
            // SAFETY: the caller's promise.
            return unsafe { as_worker(worker, || kernel(args, worker, 0, tasks)) };
        }
        let current = &self.current.0;
        current.tasks.store(tasks, Ordering::Relaxed);
        current.chunks.store(chunks, Ordering::Relaxed);
        current.kernel.store(kernel as *mut c_void, Ordering::Relaxed);
        current.args.store(args.cast_mut(), Ordering::Relaxed);
        self.unfinished.0.store(chunks, Ordering::Relaxed);
        let epoch = current.epoch.load(Ordering::Relaxed).wrapping_add(1);
        for (part, ticket) in self.tickets.iter().enumerate() {
            let Range { start, end } = self.part(part, chunks);
            ticket.0.store(epoch << CHUNK_BITS | (end - start) as u64, Ordering::Release);
        }
        current.epoch.store(epoch, Ordering::SeqCst);
        if self.n_parked.load(Ordering::SeqCst) > 0 {
            self.wake(chunks - 1);
        }
        self.take_chunks(0);
        let mut spins = 0;
        while self.unfinished.0.load(Ordering::Acquire) > 0 {
            if spins < SPINS_BEFORE_YIELD {
                spins += 1;
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        self.busy.store(false, Ordering::Release);
    }

    /// The chunks of one worker's part.
    fn part(&self, part: usize, chunks: i64) -> Range<i64> {
        let begin = |part: usize| (chunks * part as i64 + self.workers - 1) / self.workers;
        begin(part)..begin(part + 1)
    }

    /// Computes chunks of the current loop until none is untaken: those of the worker's part, then what others have left.
    fn take_chunks(&self, worker: usize) {
        let parts = self.tickets.len();
        for part in (worker..parts).chain(0..worker) {
            let done = self.take_chunks_of(part, worker as i64);
            if done > 0 {
                self.unfinished.0.fetch_sub(done, Ordering::Release);
            }
        }
    }

    /// Computes chunks of one part until none is untaken; how many.
    fn take_chunks_of(&self, part: usize, worker: i64) -> i64 {
        let (current, ticket_of) = (&self.current.0, &self.tickets[part].0);
        let mut done = 0;
        let mut ticket = ticket_of.load(Ordering::Acquire);
        while ticket & CHUNK_MASK > 0 {
            // These may belong to a later loop already; then the exchange fails and they are not used.
            let (tasks, chunks) = (current.tasks.load(Ordering::Relaxed), current.chunks.load(Ordering::Relaxed));
            let (kernel, args) = (current.kernel.load(Ordering::Relaxed), current.args.load(Ordering::Relaxed));
            match ticket_of.compare_exchange_weak(ticket, ticket - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let chunk = self.part(part, chunks).end - (ticket & CHUNK_MASK) as i64;
                    let (each, longer) = (tasks / chunks, tasks % chunks);
                    let begin = chunk * each + chunk.min(longer);
                    let end = begin + each + i64::from(chunk < longer);
                    // SAFETY: the exchange succeeded, so the loop that was published with this ticket is not over and
                    // its fields, read after the ticket and before the exchange, are the ones it was published with.
                    unsafe {
                        let kernel = std::mem::transmute::<*mut c_void, Kernel>(kernel);
                        as_worker(worker, || kernel(args, worker, begin, end));
                    }
                    done += 1;
                    ticket = ticket_of.load(Ordering::Acquire);
                }
                Err(now) => ticket = now,
            }
        }
        done
    }

    /// Wakes up to `wanted` parked workers.
    fn wake(&self, mut wanted: i64) {
        for sleeper in &self.sleepers {
            if wanted == 0 {
                break;
            }
            if sleeper.parked.load(Ordering::SeqCst) && sleeper.parked.swap(false, Ordering::SeqCst) {
                sleeper.thread.unpark();
                wanted -= 1;
            }
        }
    }

    /// A helper's life: take chunks, look for more, park.
    fn serve(&self, index: usize) {
        let sleeper = &self.sleepers[index];
        let (mut spins, mut seen) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            let epoch = self.current.0.epoch.load(Ordering::Acquire);
            if epoch != seen {
                self.take_chunks(index + 1);
                (spins, seen) = (0, epoch);
            } else if spins < SPINS_BEFORE_PARK {
                spins += 1;
                std::hint::spin_loop();
            } else {
                self.park(sleeper, seen);
                spins = 0;
            }
        }
    }

    /// Sleeps until woken. A loop published after `parked` is set wakes this worker; one published before is seen here, as its epoch
    /// is not the one last `seen`.
    fn park(&self, sleeper: &Sleeper, seen: u64) {
        sleeper.parked.store(true, Ordering::SeqCst);
        self.n_parked.fetch_add(1, Ordering::SeqCst);
        while sleeper.parked.load(Ordering::SeqCst)
            && self.current.0.epoch.load(Ordering::SeqCst) == seen
            && !self.stop.load(Ordering::SeqCst)
        {
            thread::park();
        }
        self.n_parked.fetch_sub(1, Ordering::SeqCst);
        sleeper.parked.store(false, Ordering::SeqCst);
    }
}

/// Runs `work` with this thread known as `worker`, so that loops inside it run inline.
fn as_worker(worker: i64, work: impl FnOnce()) {
    let before = INSIDE.replace(Some(worker));
    work();
    INSIDE.set(before);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn covers_each_task_once(pool: &ThreadPool, tasks: i64, grain: i64) {
        let hits: Vec<AtomicI64> = (0..tasks).map(|_| AtomicI64::new(0)).collect();
        let pieces = AtomicI64::new(0);
        pool.for_each_chunk(tasks, grain, |worker, range| {
            assert!(worker < pool.workers());
            assert!(range.end - range.start >= grain.min(tasks), "{range:?}");
            pieces.fetch_add(1, Ordering::Relaxed);
            for task in range {
                hits[task as usize].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(hits.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{tasks} / {grain}");
        assert!(pieces.load(Ordering::Relaxed) <= tasks.max(0));
    }

    #[test]
    fn every_task_runs_once_in_chunks_of_at_least_the_grain() {
        for workers in [0, 1, 2, 3, 7] {
            let pool = ThreadPool::new(workers);
            for tasks in [0, 1, 2, 3, 5, 8, 63, 64, 65, 1000] {
                for grain in [-1, 0, 1, 2, 7, 64, 5000] {
                    covers_each_task_once(&pool, tasks, grain);
                }
            }
        }
    }

    #[test]
    fn many_short_loops_from_spinning_and_parked_workers() {
        let pool = ThreadPool::new(3);
        let sum = AtomicI64::new(0);
        for round in 0..20_000i64 {
            pool.for_each_chunk(12, 1, |_, range| {
                sum.fetch_add(range.sum::<i64>(), Ordering::Relaxed);
            });
            if round % 2_000 == 0 {
                thread::sleep(Duration::from_millis(2)); // long enough for all of them to park
            }
        }
        assert_eq!(sum.into_inner(), 20_000 * 66);
    }

    #[test]
    fn a_worker_number_is_never_in_use_twice_at_once() {
        let pool = ThreadPool::new(4);
        let in_use: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
        for _ in 0..2_000 {
            pool.for_each_chunk(32, 1, |worker, _| {
                assert!(!in_use[worker].swap(true, Ordering::SeqCst));
                std::hint::spin_loop();
                in_use[worker].store(false, Ordering::SeqCst);
            });
        }
    }

    #[test]
    fn nested_loops_run_inline_under_the_same_worker() {
        let pool = ThreadPool::new(3);
        let count = AtomicI64::new(0);
        pool.for_each_chunk(10, 1, |outer, range| {
            for _ in range {
                pool.for_each_chunk(100, 1, |inner, whole| {
                    assert_eq!((inner, whole.clone()), (outer, 0..100));
                    count.fetch_add(whole.end, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(count.into_inner(), 1000);
    }

    #[test]
    fn several_threads_may_share_a_pool() {
        let pool = ThreadPool::new(2);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..500).for_each(|_| covers_each_task_once(&pool, 17, 2)));
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_chunks_and_the_pool_lives_on() {
        let pool = ThreadPool::new(2);
        let done = AtomicI64::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.for_each_chunk(8, 1, |_, range| {
                done.fetch_add(range.end - range.start, Ordering::Relaxed);
                assert!(range.start != 3, "chunk three");
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(done.into_inner(), 8);
        covers_each_task_once(&pool, 100, 1);
    }

    #[test]
    fn dropping_joins_parked_and_spinning_workers() {
        for pause in [0, 3] {
            let begin = Instant::now();
            for _ in 0..20 {
                let pool = ThreadPool::new(3);
                thread::sleep(Duration::from_millis(pause));
                drop(pool);
            }
            assert!(begin.elapsed() < Duration::from_secs(20));
        }
    }

    /// Prints the cost of an empty loop: `cargo test -p kiln-runtime --release fork_join_cost -- --nocapture`.
    #[test]
    fn fork_join_cost() {
        let pool = ThreadPool::new(2);
        let mut times: Vec<Duration> = (0..20_000)
            .map(|_| {
                let begin = Instant::now();
                pool.for_each_chunk(2, 1, |_, range| {
                    std::hint::black_box(range);
                });
                begin.elapsed()
            })
            .collect();
        times.sort();
        println!("fork-join of 2 chunks: median {:?}, best {:?}", times[times.len() / 2], times[0]);
    }
}
