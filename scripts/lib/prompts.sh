# Sourced by scripts/setup: what the line says, spoken once.

need_prompts() {
    local stamp
    stamp=$(digest_of dialplans/prompts.toml callcenter/telephony/prompts.py)
    if [ "$(cat var/prompts/.stamp 2>/dev/null)" = "$stamp" ] && [ -f var/prompts/current/hotline/greeting.alaw ]; then
        return
    fi
    say "speaking the prompts"
    .venv/bin/python -m callcenter.telephony.prompts render --out var/prompts >/dev/null || exit 1
    echo "$stamp" >var/prompts/.stamp
}
