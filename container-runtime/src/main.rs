//! `dunnage-oci`: an OCI runtime with the command line of runc, and the monitor beside each container.

mod command;

fn main() {
    container_runtime::protect_relocated();
    // a closed pipe is an error like another, not the end of the program
    std::process::exit(command::main(std::env::args_os().skip(1)));
}
