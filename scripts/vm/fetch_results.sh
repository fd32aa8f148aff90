#!/usr/bin/env bash
# Brings results and videos home from another machine, also while it is still at work. Goes on after an interruption.
#
#   scripts/vm/fetch_results.sh HOST [FOLDER]
#
#   HOST      as ssh knows it: name, user@address, an alias of ~/.ssh/config (SkyPilot adds one for each of its clusters)
#   FOLDER    the checkout there; default: pirig, in the home folder
#   SSH       ssh; or with flags: "ssh -p 2222 -i key"
#
# Deletes nothing. A file that is newer here is kept, and named; one that is older here goes to results/.replaced.
set -euo pipefail
cd "$(dirname "$0")/../.."
host=${1:-} folder=${2:-pirig} ssh=${SSH:-ssh}
replaced=results/.replaced/$(date +%Y%m%d-%H%M%S)

say() { echo "fetch: $*"; }
fail() { say "error: $*" >&2; exit 1; }

main() {
    { [ "$host" ] && [ $# -le 2 ]; } || fail "expected HOST [FOLDER]; found '$*'"
    command -v rsync >/dev/null || fail "there is no rsync here: sudo apt-get install -y rsync"
    local there
    # shellcheck disable=SC2086,SC2029 # flags; the folder is meant to be expanded here
    there=$($ssh "$host" "cd $(printf %q "$folder") || exit; ls -d results data 2>/dev/null; command -v rsync") ||
        fail "$host: no ssh, no folder '$folder', or no rsync there (sudo apt-get install -y rsync)"
    [[ $there = *results* ]] || fail "$host: there is no results in '$folder'"
    name_what_stays
    mkdir -p "$replaced"
    pull --update --backup --backup-dir="$PWD/$replaced" --info=progress2 || fail "interrupted; the same command goes on"
    if rmdir "$replaced" 2>/dev/null; then rmdir results/.replaced 2>/dev/null || true; else
        say "$(find "$replaced" -type f | wc -l) older files were replaced; they are in $replaced"
    fi
    say "results and data are here as on $host, $(find results -mindepth 3 -maxdepth 3 -path 'results/*/runs/*' -type d | wc -l) runs"
}

pull() { # FLAGS...; parts of a file that was cut off wait in .rsync-partial, never under the file's own name
    rsync --recursive --links --times --partial-dir=.rsync-partial --exclude=/results/.replaced --exclude=.reproduce.pid \
        --rsh "$ssh" "$@" "$host:$folder/./results" "$host:$folder/./data" ./
}

name_what_stays() {
    local all fewer
    all=$(pull --dry-run --out-format=%n | grep -v '/$' | sort) || true
    fewer=$(pull --dry-run --update --out-format=%n | grep -v '/$' | sort) || true
    comm -23 <(echo "$all") <(echo "$fewer") | while read -r name; do
        say "kept $name: it is newer here (the other: $ssh $host cat $folder/$name)"
    done
}

main "$@"
