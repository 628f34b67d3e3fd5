use std::path::PathBuf;

use super::{Args, Context, Failure, print};

/// `explain BUNDLE`: what would happen, in order, without doing any of it.
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    if args.flag()?.is_some() {
        return args.unknown();
    }
    let bundle = PathBuf::from(args.optional().unwrap_or_else(|| ".".to_owned()));
    args.end()?;
    print(&context.runtime.explain(&bundle)?)
}
