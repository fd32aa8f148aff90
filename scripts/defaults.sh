# shellcheck shell=bash
# SUITE, POLICY and TRIALS as the caller has set them, else as .env has them. Source it at the top of the checkout.
for name in SUITE POLICY TRIALS; do
    [ -n "${!name:-}" ] || printf -v "$name" %s "$(sed -n "s/^$name=//p" .env)"
    export "${name?}"
done
