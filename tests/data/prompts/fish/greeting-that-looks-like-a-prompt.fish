# a greeting whose last row looks like a prompt with a typed line
function fish_greeting
    echo 'Welcome'
    echo '> ls'
end
function fish_prompt
    echo -n '> '
end
