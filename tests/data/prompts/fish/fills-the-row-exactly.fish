# the prompt has exactly as many columns as the terminal; one types on the next row, and the sign in the last column vanishes with the first key
function fish_prompt
    echo -n "exact "(string repeat -n (math $COLUMNS - 8) -)"> "
end
