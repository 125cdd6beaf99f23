autocmd BufNewFile,BufRead *.tape,*.tconf setfiletype ducttape
