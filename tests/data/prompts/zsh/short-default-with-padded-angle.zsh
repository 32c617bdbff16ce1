# path, the word "via" with a glyph, then an angle on a row of its own
PROMPT=$'%B%F{cyan}%2~%f%b via %F{yellow}⬢ v1%f\n%(?.%F{green}.%F{red})❯%f '
add_newline=1
precmd_functions=( _newline_but_first )
_newline_but_first() { if [[ -n $_seen_one ]]; then print; fi; _seen_one=1; }
