# emoji, one joined by ZWJ, with widths told by %2G; the terminal may count otherwise
PROMPT=$'%{🚀%2G%} %1~ %{👩\u200d💻%2G%} ➤ '
