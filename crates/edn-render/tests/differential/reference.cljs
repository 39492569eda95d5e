;; Renders definitions as the reference renderer does: with its reader, its conversion and its printer.
;; Arguments: a file with a JSON array of texts, and a file for a JSON array of the results.
(require '["fs" :as fs] '[clojure.edn :as edn])

(defn apps [value]
  (cond
    (contains? #{nil "" {}} value) []
    (or (sequential? value) (set? value))
    (if (every? #(or (nil? %) (map? %)) value)
      (vec value)
      (throw (js/Error. "an app is not a map")))
    :else (throw (js/Error. "apps are not a collection"))))

(defn render [text]
  (let [form (edn/read-string text)]
    (cond
      (nil? form) #js {:apps #js []}
      (map? form) (clj->js (-> form (dissoc :profiles) (update :apps apps)))
      :else (throw (js/Error. "the definition is not a map")))))

(let [[from to] *command-line-args*
      texts (js/JSON.parse (fs/readFileSync from "utf8"))]
  (fs/writeFileSync
   to
   (js/JSON.stringify
    (.map texts
          (fn [text]
            (try
              ;; Printed separately, so that one unprintable value does not end the run.
              #js {:json (js/JSON.stringify (render text))}
              (catch :default error
                ;; Half of a surrogate pair in a message is not valid JSON.
                #js {:error (.toWellFormed (str (.-message error)))})))))))
