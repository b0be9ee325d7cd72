# Shell functions that the scripts for tests share: installing what is missing, building the
# daemons, a private RabbitMQ, running the tests, taking everything down again. To be sourced with
# `set -euo pipefail` from a script in this folder, after `cd` to the root of the repository.
# shellcheck shell=bash

readonly script=scripts/${0##*/}
readonly root=$PWD
readonly target=${CARGO_TARGET_DIR:-$root/target}

# The profile that is built and tested. The tests use `dev`: it checks arithmetic and assertions, and
# our own code compiles in a fraction of the time. `release` is what ships.
readonly profile=${TELEWARDEN_TEST_PROFILE:-dev}
# Where Cargo puts what it builds with it.
readonly built=$target/${profile/#dev/debug}

say() { printf '== %s\n' "$*"; }

fail() {
    printf '%s: %s\n' "$script" "$*" >&2
    exit 1
}

tests_pid=
brokers_dir=
policy_file=
staged_root=
cleanup() {
    local status=$?
    trap - EXIT
    # The tests are a process group of their own, so that none outlives this script.
    if [[ -n $tests_pid ]]; then
        kill -TERM -- "-$tests_pid" 2> /dev/null || true
        wait "$tests_pid" 2> /dev/null || true
    fi
    # Also those of tests that were cut off.
    local folder
    for folder in ${brokers_dir:+"$brokers_dir"/*/}; do
        [[ ! -d $folder ]] || "$root/scripts/rabbitmq" stop "$folder" || true
    done
    [[ -z $brokers_dir ]] || rm -rf "$brokers_dir"
    [[ -z $policy_file ]] || as_root rm -f "$policy_file"
    [[ -z $staged_root ]] || rm -rf "$staged_root"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Debian starts services while it installs them unless this file says no (exit status 101).
forbid_autostart() {
    local file=/usr/sbin/policy-rc.d
    [[ ! -e $file ]] || return 0
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$file" > /dev/null
    policy_file=$file
    as_root chmod 0755 "$file"
}

# Installs the Debian packages in $@ and those that every run needs, if anything is missing.
install_packages() {
    local -a missing=("$@")
    [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || missing+=(rabbitmq-server)
    command -v cc > /dev/null || missing+=(gcc libc6-dev)
    ((${#missing[@]})) || return 0
    command -v apt-get > /dev/null || fail "please install: ${missing[*]}"
    say "installing ${missing[*]}"
    forbid_autostart
    as_root apt-get update --quiet --quiet
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
}

need_cargo() {
    command -v cargo > /dev/null ||
        fail "cargo is missing; install Rust (see rust-version in Cargo.toml)"
}

# The daemon with the features that it ships with: tests link the simulator, whose features would find their way into it.
# A copy, because `cargo test` builds its own over this one.
build_daemon() {
    say "building the daemon"
    cargo build --profile "$profile" --locked --package telewarden --bin telewarden
    mkdir -p "$target/test-bin"
    cp "$built/telewarden" "$target/test-bin/telewarden"
    export TELEWARDEN_TEST_BIN=$target/test-bin/telewarden
    "$TELEWARDEN_TEST_BIN" --version
}

# The same with the points at which it can be made to die (src/failpoint.rs). Only our own crate is
# compiled once more.
build_dying_daemon() {
    say "building the daemon with fail points"
    cargo build --profile "$profile" --locked --package telewarden --bin telewarden --features fail-points
    mkdir -p "$target/test-bin"
    cp "$built/telewarden" "$target/test-bin/telewarden-fail-points"
    export TELEWARDEN_TEST_FAIL_POINTS_BIN=$target/test-bin/telewarden-fail-points
}

# Where every broker lives that is started here or by a test, so that all are found again.
make_brokers_folder() {
    brokers_dir=$(mktemp -d)
    export TELEWARDEN_TEST_BROKERS=$brokers_dir
}

start_broker() {
    say "starting a private RabbitMQ"
    make_brokers_folder
    "$root/scripts/rabbitmq" start "$brokers_dir/shared"
    export TELEWARDEN_TEST_RABBITMQ_DIR=$brokers_dir/shared
    TELEWARDEN_TEST_AMQP=$(< "$brokers_dir/shared/url")
    export TELEWARDEN_TEST_AMQP
}

# A failed assertion says what was awaited and seen; the frames of a runtime say nothing more.
export RUST_BACKTRACE=0

# Runs `cargo test` with the given arguments, in the background, since bash runs traps only after a
# command in the foreground has ended.
run_tests() {
    local status=0
    say "testing"
    set -m
    cargo test --profile "$profile" --locked "$@" < /dev/null &
    tests_pid=$!
    set +m
    wait "$tests_pid" || status=$?
    tests_pid=
    return "$status"
}
