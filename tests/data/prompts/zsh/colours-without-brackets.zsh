# raw colour sequences with no %{ %} round them, so zsh counts their bytes as columns
PROMPT=$'\e[1;32m%n\e[0m:\e[1;34m%1~\e[0m%# '
