//! What is said when Kiln itself is wrong.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many threads are inside [`catch`]: panics of the threads that these started are raised again in them.
static CATCHING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Replaces the standard message of panics: their texts name the pass and the node already.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        let text = describe(info);
        let main = thread::current().name() == Some("main");
        if CAUGHT.get() || (!main && CATCHING.load(Ordering::Relaxed) > 0) {
            LAST.set(Some(text));
        } else {
            eprintln!("error: this is a bug in kiln: {text}\n  help: please report it with the model and the command line");
        }
    }));
}

/// Runs `work`; if it panics, gives the text of the panic and where it was.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = CAUGHT.replace(true);
    LAST.take();
    CATCHING.fetch_add(1, Ordering::Relaxed);
    // Whatever `work` was changing is dropped with it: callers keep nothing of a failed attempt.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.fetch_sub(1, Ordering::Relaxed);
    CAUGHT.set(before);
    outcome.map_err(|payload| LAST.take().unwrap_or_else(|| message(&*payload).to_string()))
}

fn describe(info: &PanicHookInfo) -> String {
    let place = info.location().map_or_else(String::new, |l| format!(" ({}:{})", l.file(), l.line()));
    format!("{}{place}", message(info.payload()))
}

fn message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}
