use super::{Args, Context, Failure, print_json};

/// `state ID`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    if args.flag()?.is_some() {
        return args.unknown();
    }
    let id = context.id(&mut args)?;
    args.end()?;
    print_json(&context.runtime.state(&id)?, true)
}
