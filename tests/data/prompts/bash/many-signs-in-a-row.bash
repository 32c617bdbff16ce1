# dollar, hash, percent, angle and arrow all in one prompt; only the last one is the end of it
PS1='$ # % > \W ❯ $ '
