# no fish_prompt is defined at all, so the one that comes with the shell is loaded on demand
set -g fish_greeting
